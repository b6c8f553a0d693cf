"""Spellings of addresses that only this server could reach, for everything that takes somebody else's URL."""

from __future__ import annotations

# This machine and the networks behind it, in every form that a URL parser, the resolver or the kernel might understand.
LOOPBACK = [
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001",
    "0x7f.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "foo.localhost", "localhost.localdomain",
    "[::1]", "[0:0:0:0:0:0:0:1]", "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "ⓛocalhost",
]  # fmt: skip
PRIVATE = [
    "[fc00::1]", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "167772161", "0xa000001", "012.0.0.1",
    "db", "db.lan", "printer.local", "kubernetes.default.svc.cluster.local",
]  # fmt: skip
# What nobody may reach, whoever allows what.
NEVER = [
    "0", "0.0.0.0", "0x0", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]",
    "[fd00:ec2::254]", "[fd20:ce::254]", "[ff02::1]", "[100::1]", "[2001:db8::1]",
    "100.100.100.200", "169.254.169.254", "169.254.170.2", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
    "192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "192.88.99.1", "[::ffff:169.254.169.254]",
]  # fmt: skip
NEVER_BY_NAME = [
    "metadata",
    "metadata.google.internal",
    "metadata.google.internal.",
    "instance-data",
    "instance-data.ec2.internal",
]
NO_HOSTS = ["127.0.0.1%00.example.com"]
INSIDE = [*LOOPBACK, *PRIVATE, *NEVER, *NEVER_BY_NAME, *NO_HOSTS]
