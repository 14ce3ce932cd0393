"""The command line ``mlwave``: one verb per file, each a thin layer over plain Python calls."""
