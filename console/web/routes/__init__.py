"""What the server answers itself, beside the pages."""
