"""Answer the admin API: load, unload and label versions while serving."""
