"""The web server around the pages: the gate, signing in, downloads and uploads."""
