"""Small mistakes, put into a copy of the kernel one at a time: how many of them do the tests notice? See ``README.md``."""
