"""How the kernel calls what plugins brought."""
