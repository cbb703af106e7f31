"""Evaluations: what is asked, how a reply is graded, and how sure the figures are."""
