"""Define the sub-commands of cofactor-train; the modules *_flags hold the flags that several of them share."""
