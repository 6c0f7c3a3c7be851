"""How good the filters are: labelled sets in, figures with intervals out."""
