"""One file a benchmark: where its items come from, how they are asked in their official form, and how they are graded.

A suite is a module with `VERSION`, `CARD` (`evals.asking.Card`), `FILES` (what it reads), `items(data, seed, room)` and
`grade(item, answer, means)`; one whose figures are of groups of rows also has `gather(rows)`. Adding a file adds a suite.
"""
