"""Attempts to make a model give harmful help, so that it can be measured and mended: ways of asking, a plan of who asks
what, an attacker that learns, and figures that know how far their judge errs.

Every framing is in our own words and harmless in itself; what is asked comes from the prompt sets. Models, grades and
artifacts are brought together in `solon.stages.redteam`.
"""
