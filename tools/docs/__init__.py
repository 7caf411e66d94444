"""Write pages of docs/ from the code."""
