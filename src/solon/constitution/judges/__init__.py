"""Judges, one file each: `judge(book, options, model, labelled)` gives an object that says which reply is better."""
