"""Compare exported graphs with torch and with numpy before a version is published."""
