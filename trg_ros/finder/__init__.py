"""A face finder of our own: a tiny network that marks face centres, trained on rendered heads only."""
