"""Every test runs on the real thing: real files, real servers, a real browser."""
