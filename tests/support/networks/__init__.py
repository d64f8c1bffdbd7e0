"""Small networks of the kinds that people have, wired in the ways in which they wire them."""
