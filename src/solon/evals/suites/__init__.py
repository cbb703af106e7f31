"""One file a benchmark: where its items come from, how they are asked in their official form, and how they are graded.

A suite is a module with `VERSION`, `CARD` (`evals.asking.Card`), `FILES` (what it reads), `items(data, seed, room)` and
`grade(item, answer, means)`. One whose figures are of groups of rows also has `gather(rows)`; one whose figures are no means
of rows has `SCORES` (`evals.bias.Score`, `evals.uncertainty.Fit`); one with pictures has `curves(rows)`. Adding a file adds a
suite.
"""
