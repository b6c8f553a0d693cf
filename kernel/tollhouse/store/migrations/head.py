"""The revision that this code needs; a test compares it with the newest migration."""

HEAD = "0012"
