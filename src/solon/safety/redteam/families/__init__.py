"""Ways of asking, as plug-ins: every file holds a table `ATTACKS`, and each of its entries is one family.

A family is a pure function of the request and a random generator. Adding one is a row in a table or a new file; nothing
else is edited. Other packages add theirs through the entry point `solon.attacks`.
"""
