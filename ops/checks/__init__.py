"""Questions about health: a module for each kind of thing that is asked, a record a check."""
