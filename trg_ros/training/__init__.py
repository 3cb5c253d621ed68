"""Training TRG on rendered heads (and, by the same trainer, on other labelled sets)."""
