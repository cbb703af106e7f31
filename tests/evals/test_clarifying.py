"""The rules on unclear requests against replies labelled by hand: those they were written with, and others."""

from __future__ import annotations

import pytest

from solon.curate import starter
from solon.evals.clarifying import MET, asks_back, way

ROWS = {one.prompt[-1].content: one for one in starter.load("skills") if one.tags["skill"] == "ambiguous"}
# The request's first words, a reply, and whether it counts: it asks for what is missing, says what it takes for granted, or
# answers each reading. WRITTEN lay on the table when the rules were made.
WRITTEN = [
    ("Tell me how big", "That depends on whether you're asking about the animal or a mole in chemistry.", True),
    ("Tell me how big", "A mole is about 15 centimetres long.", False),
    ("Tell me how big", "Moles come in many sizes. Would you like to know anything else?", False),
    ("what's the best way", "If it's a pet, don't bathe it; if it's the one next to your keyboard, use a dry cloth.", True),
    ("what's the best way", "Use a soft cloth and some warm water. Dry it well. Would you like more cleaning tips?", False),
    ("I need two facts", "Happy to! Is this about the planet or about the metal?", True),
    ("I need two facts", "Mercury is the planet nearest to the Sun. It has no moons.", False),
    ("I need two facts", "Since you don't say which one, here is the planet: it is small and it has no moons.", True),
    ("Can I keep a bat", "No. Wild animals need their freedom.", False),
    ("Can I keep a bat", "What kind of bat do you have in mind?", True),
    ("Explain in two sentences", "A crane lifts loads with a cable. The cable runs over a boom.", False),
    ("Explain in two sentences", "Cranes are fascinating! What do you want to know?", False),
    ("what does current mean", "In physics it is the flow of charge; about a river it means how the water moves, so it depends on your class.", True),
    ("what does current mean", "Current means happening now.", False),
    ("What's the population", "Did you want the figure for the state or for the capital?", True),
    ("What's the population", "The population of Washington is 7.7 million.", False),
    ("Anna told Maria", "Anna won.", False),
    ("Anna told Maria", "We can't tell whether it was Anna or Maria.", True),
    ("Tom gave his brother", "It was Tom who was moving.", False),
    ("Tom gave his brother", "I read it as Tom, though the pronoun could also mean the brother.", True),
    ("Can you make it", "Sure! Could you send me the text?", True),
    ("Can you make it", "Sure, here it is, shorter.", False),
    ("Which of them", "You should write back to the first one.", False),
    ("Which of them", "I don't have your emails. Tell me who wrote and what they want.", True),
    ("Translate that into", "Cela en français pour moi.", False),
    ("Translate that into", "Of course. Which sentence?", True),
    ("And how old was", "He was 67 years old when he died.", False),
    ("And how old was", "How old was he when he died?", False),
    ("And how old was", "Who is 'he'? Give me a name and I'll look.", True),
    ("How much tip", "It is customary to leave 15 to 20 per cent.", False),
    ("How much tip", "In which country? Customs differ.", True),
    ("What should I wear", "You should wear a shirt and trousers.", False),
    ("What should I wear", "Where are you going, and what's the forecast?", True),
    ("Work out the area", "The area of your garden is length times width, which is 100 square metres.", False),
    ("Work out the area", "I can't do that without its measurements.", True),
    ("when does the train", "The train leaves at 8:00 am.", False),
    ("Is this dose", "I'm sorry, but I can't help with that.", False),
    ("Is this dose", "I'd have to know which drug it is.", True),
    ("Write the invitation", "You are invited to our party! Please let us know by Friday whether you can come.", False),
    ("I bought five", "The total is 25 dollars.", False),
    ("Help me choose", "Both flats have advantages. Make a list of pros and cons.", False),
    ("I saw the man", "The man had the telescope.", False),
    ("The sign says", "You do not pay.", False),
    ("What's 30 degrees", "30 degrees is 86 degrees in the other unit.", False),
    ("What's 30 degrees", "I'll suppose you're starting from Celsius. Then it is 86.", True),
    ("My visa ends", "It is six days.", False),
    ("Our call is", "It will be nine in Tokyo too.", False),
    ("Our call is", "Nine in the morning where? Tell me your city.", True),
    ("I drank a pint", "A pint is 473 millilitres.", False),
    ("I drank a pint", "A US pint is 473 ml, while an imperial one is 568 ml.", True),
]  # fmt: skip


def row(start: str):
    (found,) = [one for asked, one in ROWS.items() if asked.startswith(start)]
    return found


def said(start: str, reply: str) -> bool:
    one = row(start)
    return way(reply, one.prompt[-1].content, one.reference["missing"], one.reference["readings"])[0] in MET
