"""Real servers and a real browser for the tests, on a machine that may have none of them.

What cannot be had is an error that lists every attempt; no test is left out for want of a server.
"""
