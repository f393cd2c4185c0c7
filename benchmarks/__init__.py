"""How fast dnnlab is beside named peers, measured in the same run; see README.md."""
