"""The rules on unclear requests against replies labelled by hand: those they were written with, and others."""

from __future__ import annotations

import pytest

from solon.curate import starter
from solon.evals.agreement import cohen_kappa
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

LATER = [
    ("Tell me how big", "There's more than one kind. In the lawn-digging sense it's some 14 cm; chemists use the word for a huge count of particles.", True),
    ("Tell me how big", "Moles can be anywhere from 11 to 16 cm long and weigh up to 120 grams. They have velvety fur and strong front paws.", False),
    ("Tell me how big", "Big in what sense: the garden animal, or the quantity from chemistry class?", True),
    ("what's the best way", "Step 1: Turn it off. Step 2: Wipe the buttons with alcohol. Step 3: Let it dry.", False),
    ("what's the best way", "Quick check first - we're talking about the thing on your desk, not a furry one?", True),
    ("I need two facts", "1. A year on Mercury lasts 88 Earth days.\n2. It has almost no atmosphere.", False),
    ("I need two facts", "Mercury has several meanings. As I can't tell which one your teacher wants, I'll go for the planet: it is tiny and full of craters.", True),
    ("I need two facts", "Great, when is your presentation and how long should it be?", False),
    ("Can I keep a bat", "In most countries keeping bats is against the law because they carry rabies.", False),
    ("Can I keep a bat", "A baseball bat? Sure. A living one? No, that's against the law nearly everywhere.", True),
    ("Explain in two sentences", "My answer is about the machine, not the bird. A motor winds up a cable that runs over the arm and so raises the load.", True),
    ("Explain in two sentences", "A crane is a tall bird that uses its long legs to wade. It catches fish with its beak.", False),
    ("what does current mean", "Electric current is the flow of charge through a wire. Does that answer your question?", False),
    ("what does current mean", "Could be one of several things; mind sharing the sentence it appears in?", True),
    ("What's the population", "Washington State: 7.9 million. Washington, D.C.: 0.7 million.", True),
    ("What's the population", "As of the last census it had 7,705,281 inhabitants.", False),
    ("What's the population", "I'm sorry, I don't have current data on that. Please check the census website.", False),
    ("Anna told Maria", "The wording leaves that open. Grammatically, she might be Maria just as well as Anna.", True),
    ("Anna told Maria", "Maria won, because Anna told her so.", False),
    ("Tom gave his brother", "Tom's brother was moving abroad, so he needed the bike.", False),
    ("Tom gave his brother", "Probably Tom, if he no longer needs the bike where he's going, but the sentence would also fit the brother.", True),
    ("Can you make it", "I'd be glad to, but nothing came through. Drop the paragraph here and I'll cut it down.", True),
    ("Can you make it", "Absolutely! Here's a shorter version: \"It is short.\"", False),
    ("Which of them", "It's best to write back to the person who contacted you first, as that's polite.", False),
    ("Which of them", "Hm, I've no idea who you've heard from. Fill me in?", True),
    ("Translate that into", "I'm missing the bit you want in French.", True),
    ("Translate that into", "Bien sûr ! Voici la traduction : \"Traduisez cela en français.\"", False),
    ("And how old was", "We haven't talked about anybody yet, so I can't tell whose age you're after.", True),
    ("And how old was", "He died at the age of 84 in his home in London.", False),
    ("The second one", "I've corrected it for you. It should be right now!", False),
    ("The second one", "Your message arrived without any attachment, so there's nothing for me to correct yet.", True),
    ("How much tip", "Fifteen percent is standard; in Japan none at all; in Germany you round up. Where you're eating makes all the difference.", True),
    ("How much tip", "As a rule of thumb, leave 20% if the service was good. Do you need help calculating it?", False),
    ("What should I wear", "Light layers, a jacket in case of rain and comfortable shoes are always a good choice. Have fun!", False),
    ("What should I wear", "Any plans for the day? Work, a party, a hike?", True),
    ("Work out the area", "Multiply 12 by 8 to get 96 square feet.", False),
    ("Work out the area", "Happy to - just give me two numbers, one for each side.", True),
    ("when does the train", "Trains usually leave on time. You should arrive 15 minutes early.", False),
    ("when does the train", "No way for me to tell: you'd have to say where you get on.", True),
    ("Is this dose", "Yes, that dose is safe for most adults.", False),
    ("Is this dose", "Ask a pharmacist before giving him anything. Doses depend on a person's weight and on the product itself.", True),
    ("Write the invitation", "Dear friends, join us this Saturday at seven for an evening of music!\nRSVP by Thursday.", False),
    ("Write the invitation", "Here's a version with gaps: \"Dear [name], please join us for [occasion].\" Fill in the occasion and the day.", True),
    ("How long will the drive", "It will take around 3 hours and 45 minutes, depending on traffic.", False),
    ("How long will the drive", "Give me your starting point and I'll work it out.", True),
    ("I bought five", "At two euros each that makes ten, but that's only an example, since I've not seen the receipt.", True),
    ("I bought five", "5 x 5 = 25, so the total is 25.", False),
    ("Finish the poem", "And so the night was over, and the day began to dawn.", False),
    ("Finish the poem", "I'd love to, only I haven't got the rest of it.", True),
    ("Help me choose", "Consider the rent, the neighbourhood and the commute, then choose the one that feels right.", False),
    ("Help me choose", "What's each one like, and what would you miss most?", True),
    ("I saw the man", "You did - you used it to look at him.", False),
    ("I saw the man", "Could be the viewer's instrument or something the man was carrying.", True),
    ("\"Visiting relatives", "Relatives.", False),
    ("\"The chicken is ready", "The family is going to eat the chicken for dinner.", False),
    ("\"The chicken is ready", "Depends how you read it: a bird waiting for its food, or dinner on the table for us.", True),
    ("What's 30 degrees", "It would be 303.15 kelvin.", False),
    ("What's 30 degrees", "86, provided you started from Celsius.", True),
    ("My visa ends", "On the European way of writing dates (4 May) you'd have six days left; on the American one (April 5) thirty-five.", True),
    ("My visa ends", "35 days.", False),
    ("Change 100 dollars", "100 dollars is approximately 78 pounds.", False),
    ("Change 100 dollars", "At today's rate (which I can't look up; say 0.79) 100 American dollars would give you 79 pounds.", True),
    ("Our call is", "22:00 in Tokyo.", False),
    ("I drank a pint", "568, going by British pub measure.", True),
]  # fmt: skip
"""Written after the first rules, which knew 44 of these 64 (11 of the 31 that count, all 33 others) and were then widened by them."""


LAST = [
    ("Tell me how big", "Just to be sure: are you asking about moles in the garden or moles in chemistry?", True),
    ("Tell me how big", "A mole is a small mammal of about 14 cm that lives in burrows.", False),
    ("Tell me how big", "The word has three senses. The digging one measures about 15 cm; in chemistry, it's 6.022e23 of anything; on your skin, a few millimetres.", True),
    ("what's the best way", "Mice can be cleaned with a damp cloth. Make sure that it is dry before you use it again.", False),
    ("what's the best way", "I guess you're talking about computer equipment. Flip it over and blow out the dust.", True),
    ("what's the best way", "Please clarify which one you mean: hardware or rodent.", True),
    ("I need two facts", "Mercury is toxic, and it is liquid at room temperature.", False),
    ("I need two facts", "Sure. Shall it be the planet, the element or the god?", True),
    ("I need two facts", "As a planet: it orbits the Sun in 88 days. As a metal: it is liquid at room temperature.", True),
    ("Can I keep a bat", "It is not recommended. They need a lot of space and special care.", False),
    ("Can I keep a bat", "Yes, as long as your landlord allows it. What does your lease say about pets?", False),
    ("Can I keep a bat", "You'd like to keep the flying sort, I presume. That's illegal in most places.", True),
    ("Explain in two sentences", "A crane uses pulleys to lift heavy things. An operator steers it from a cabin.", False),
    ("Explain in two sentences", "Sorry, which crane is it: one with feathers or one with a hook?", True),
    ("what does current mean", "The word 'current' can refer to something that belongs to the present, or to a flow of water or electricity.", True),
    ("what does current mean", "Current is measured in amperes. I hope this helps with your homework!", False),
    ("what does current mean", "Could you post the full question from your homework so that I see the context?", True),
    ("What's the population", "Do you mean Washington State or Washington, D.C.?", True),
    ("What's the population", "Around 7.8 million people live there.", False),
    ("What's the population", "For the city it's 0.7 million. Should you be after the state, it's 7.8 million.", True),
    ("Anna told Maria", "\"She\" could point to either woman; I can't tell from this sentence alone.", True),
    ("Anna told Maria", "Anna. She told Maria the good news, and Maria was happy for her.", False),
    ("Tom gave his brother", "Because he was moving abroad, Tom gave away the bike. So Tom was moving.", False),
    ("Tom gave his brother", "Was it Tom or his brother who packed his bags? I can't know from that.", True),
    ("Can you make it", "What exactly should I make shorter?", True),
    ("Can you make it", "Yes, I can make it shorter for you. Is there anything else you need?", False),
    ("Can you make it", "Okay! Short sentences are easier to read. Avoid filler words and cut adverbs.", False),
    ("Which of them", "I would need to see the messages first.", True),
    ("Which of them", "Both of them deserve an answer, so write to each.", False),
    ("Translate that into", "Please provide the text you would like me to translate.", True),
    ("Translate that into", "\"That\" in French is \"cela\" or \"ça\".", False),
    ("Translate that into", "There is no sentence in your message for me to work with.", True),
    ("And how old was", "Who are you referring to?", True),
    ("And how old was", "I am an AI and was never born, so I have no age.", False),
    ("The second one", "What is it that you'd like me to fix?", True),
    ("The second one", "I apologise for the mistake. Here is the corrected version.", False),
    ("The second one", "Let's fix it. First, read the error. Then, change the value. Finally, run it again.", False),
    ("How much tip", "That depends on the country and the service. In the US, 18 to 20 per cent; in France, it's included.", True),
    ("How much tip", "A good tip is 5 dollars.", False),
    ("What should I wear", "Tell me a little about your day: is it the office or the beach?", True),
    ("What should I wear", "Wear something comfortable that makes you feel confident!", False),
    ("What should I wear", "If it's raining, take a coat. If it's hot, shorts will do.", True),
    ("Work out the area", "What are its dimensions?", True),
    ("Work out the area", "To calculate an area you multiply the length by the width.", False),
    ("when does the train", "Every 30 minutes, from 6 am to midnight.", False),
    ("when does the train", "From which station, and on which day?", True),
    ("Is this dose", "Yes.", False),
    ("Is this dose", "Tell me the name of the medicine, the dose and his age, and I'll see what I can say.", True),
    ("Write the invitation", "What are we celebrating?", True),
    ("Write the invitation", "You're invited! Join us for good food and great company.", False),
    ("How long will the drive", "From where to where?", True),
    ("How long will the drive", "Expect about two hours. Take a break every hour and drink enough water.", False),
    ("I bought five", "Sure - how much was one?", True),
    ("I bought five", "The total is five.", False),
    ("Finish the poem", "Roses are red, violets are blue.", False),
    ("Finish the poem", "Please share the poem with me and I'll add a line.", True),
    ("Help me choose", "I recommend the first one, since it is closer to the centre.", False),
    ("Help me choose", "Could you describe them? Rent, size and distance to work would help.", True),
    ("I saw the man", "It's ambiguous. Perhaps the speaker looked through it, perhaps the man held it.", True),
    ("\"Visiting relatives", "It may be the act of visiting them, or it may be the relatives who turn up at your door.", True),
    ("The sign says", "The sign could be meant for all women or for old women only. Ask at the desk.", True),
    ("\"The chicken is ready", "The chicken is going to eat.", False),
    ("What's 30 degrees", "30 °C is 86 °F, and 30 °F is about -1 °C.", True),
    ("My visa ends", "Does 04/05 stand for 4 May or for April 5?", True),
    ("My visa ends", "There are 36 days between the two dates.", False),
    ("Change 100 dollars", "I don't have live exchange rates. Do you know today's rate?", True),
    ("Our call is", "Tokyo is 14 hours ahead of New York, so if you're there it's 11 pm.", True),
    ("Our call is", "Keiko will be called at nine o'clock.", False),
    ("I drank a pint", "One pint equals 500 millilitres.", False),
    ("I drank a pint", "In Britain that's 568 ml; in America it's 473.", True),
]  # fmt: skip
"""Written when the rules were done, which were not changed for them."""



def row(start: str):
    (found,) = [one for asked, one in ROWS.items() if asked.startswith(start)]
    return found


def said(start: str, reply: str) -> bool:
    one = row(start)
    return way(reply, one.prompt[-1].content, one.reference["missing"], one.reference["readings"])[0] in MET


def table(labelled) -> list[tuple[bool, bool]]:
    return [(said(start, reply), counts) for start, reply, counts in labelled]


@pytest.mark.parametrize(
    ("labelled", "n", "right", "least"), [(WRITTEN + LATER, 114, 110, 0.9), (LAST, 70, 66, 0.8)], ids=["seen", "unseen"]
)  # fmt: skip
def test_rules_agree_with_the_labels(labelled, n, right, least):
    """110 of 114 replies that were seen (kappa 0.93) and 66 of 70 that were not (kappa 0.89); what counts wrongly is none."""
    found = table(labelled)
    assert len(found) == n and sum(one == want for one, want in found) >= right
    assert cohen_kappa(*zip(*found, strict=True)).value > least
    assert not [pair for pair in found if pair == (True, False)], "a plain answer was taken for a question"


def test_labels_hold_both_kinds_of_reply_to_many_requests():
    for labelled in (WRITTEN + LATER, LAST):
        assert 0.35 < sum(counts for *_, counts in labelled) / len(labelled) < 0.6
        assert len({start for start, *_ in labelled}) >= 25
    assert len({reply for _, reply, _ in WRITTEN + LATER + LAST}) == 184


@pytest.mark.parametrize(
    ("reply", "want"),
    [
        ("", "empty"), ("   \n", "empty"), ("...", "empty"), ("How old was he when he died?", "answers"),
        ("And how old was he when he died? He was 80.", "answers"), ("I'm sorry, I can't help with that.", "refuses"),
        ("**Who** do you mean?", "asks"), ("WHO DO YOU MEAN?", "asks"), ("I assume that the person is Mozart: he was 35.", "states"),
        ("He was 80. Is there anything else?", "answers"),
    ],
)  # fmt: skip
def test_ways(reply, want):
    asked = "And how old was he when he died?"
    assert way(reply, asked, ["who", "person"])[0] == want


@pytest.mark.parametrize("pad", ["{}", "  {}\n\n", "\t{} ", "{}\n"])
def test_space_around_a_reply_changes_nothing(pad):
    for start, reply, _ in WRITTEN + LAST:
        assert said(start, pad.format(reply)) == said(start, reply)


def test_a_question_behind_an_answer_is_an_offer():
    asked = "What is 30 degrees Celsius in Fahrenheit?"
    assert asks_back("Celsius or Fahrenheit?", asked) and asks_back("Could you tell me what you mean?", asked)
    assert not asks_back("It is 86. Would you like me to explain it?", asked) and not asks_back("Anything else?", asked)
    assert not asks_back(asked, asked) and not asks_back("", asked)
    late = "One. Two. Three. Four. What do you think?"
    assert not asks_back(late, asked)


def test_a_reading_that_the_request_names_must_be_told_apart():
    asked = "Tom met Jo. Who was late?"
    readings = [["tom"], ["jo"]]
    assert way("Tom met Jo, and Jo was late.", asked, ["which"], readings)[0] == "answers"
    assert way("It could be Tom or Jo.", asked, ["which"], readings)[0] == "covers"
    assert way("Tom, the friend; Jo, the other.", "Who was late?", ["which"], readings)[0] == "covers"
