"""All that a person touches: pages, the web server around them, the command line."""
