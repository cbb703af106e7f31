"""Which domains a request belongs to, so that a domain's principle is applied there and nowhere else.

Rules: a strong cue (`homework`, `landlord`, `dosage`, `sqlite`) counts two, a weak one (`teacher`, `police`, `doctor`,
`server`) one, every cue once however often it stands there; a domain with two or more is chosen. A request can belong to
several domains or to none. No model, no state: the same words always go the same way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Literal, get_args

from solon.core.records import Conversation

Domain = Literal["academic", "legal", "medical", "coding"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)
ENOUGH = 2
STRONG, WEAK = 2, 1

# One cue a line or between bars: a regular expression that is matched as a whole word, plural included where it ends so.
CUES: dict[Domain, tuple[str, str]] = {
    "academic": (
        r"homework|essays?|assignments?|coursework|dissertation|thesis|term paper|lab report|problem set|worksheet"
        r"|exams?|midterms?|finals week|pop quiz|take[- ]home|due (?:today|tomorrow|tonight|friday|monday)"
        r"|hand(?:ed|ing)? (?:it |this |that )?in|plagiari[sz]\w*|tutor(?:ing)?|gcses?|a[- ]levels?|syllabus"
        r"|(?:my|our|the) (?:course|module|seminar|professor|lecturer|prof|maths? class|class(?:es)?)|book report"
        r"|(?:bibliography|citations?|apa style|literature review)|flash ?cards?|revis(?:e|ing|ion) for",
        r"teacher|school|university|college|uni|students?|grades?|graded|lecture|textbook|chapter|study(?:ing)?|studies"
        r"|learn(?:ing)?|class|quiz|campus|semester|undergraduate|phd|freshman|explain why|solve|equation|proof|prove"
        r"|paragraph|maths?|chemistry|biology|physics|history|calculus|algebra|statistics|tests?|problem \d|question \d",
    ),
    "legal": (
        r"lawyers?|solicitors?|attorneys?|barristers?|legal(?:ly|ity)?|illegal(?:ly)?|lawsuits?|sue|sued|suing|court|landlords?"
        r"|tenan(?:ts?|cy)|evict(?:ed|ion)?|custody|probate|divorce|prenup\w*|copyright(?:ed)?|trademarks?|patents?|visa"
        r"|asylum|deport\w*|arrest(?:ed)?|bail|small claims|tribunal|unfair dismissal|wrongful(?:ly)?|redundancy|nda"
        r"|liab(?:le|ility)|defamation|libel|slander|statutes?|statutory|against the law|the law|laws?|gdpr|power of attorney"
        r"|inherit(?:ance)?|executor|breach of contract|non-?compete|restraining order|criminal record|prosecut\w*"
        r"|plead|witness statement|misdemeanou?r|felony|immigration",
        r"contract|lease|deposit|rent|police|fined?|rights?|notice|fired|dismissed|employer|severance|refund|warranty|signed"
        r"|agreement|clause|insurance|claim|will|permit|licen[cs]e|property|ex-?(?:wife|husband|partner)|neighbou?r"
        r"|terms and conditions|evidence|consent|judge|jury|compensation|parking ticket|owe|entitled|allowed to",
    ),
    "medical": (
        r"symptoms?|diagnos\w+|prescri\w+|dos(?:e|es|age)|\d+ ?mg|antibiotics?|ibuprofen|paracetamol|aspirin|antidepressants?"
        r"|medic(?:ation|ations|ine|al)|vaccin\w*|insulin|diabet\w+|asthma|cancer|tumou?r|migraines?|fever|rash(?:es)?|cough(?:ing)?"
        r"|nausea|vomit\w*|dizz\w+|diarrh\w+|blood pressure|cholesterol|pregnan\w+|miscarriage|infect(?:ion|ed)|allerg\w+"
        r"|eczema|arthritis|epilep\w+|seizures?|stroke|heart attack|palpitations|chest pain|gp|surgery|surgeon|biopsy|mri|x-?ray"
        r"|side effects?|contracepti\w+|menopaus\w+|thyroid|an(?:a)?emi(?:a|c)|concussion|stitches|std|sti|hiv|covid|flu"
        r"|(?:head|stomach|back|ear|tooth|belly)[- ]?aches?|period (?:is )?late|swollen|numb(?:ness)?|blister\w*|overdose",
        r"doctor|nurse|hospital|pharmac\w+|therap\w+|pains?|painful|hurts?|hurting|sore|bleed\w*|blood|pills?|tablets?|itch\w*|lump|mole"
        r"|bruis\w*|sick|ill|illness|tired|sleep|anxiety|depress\w+|adhd|virus|skin|throat|knee|ankle|chest|heart|stomach|lungs?"
        r"|kidneys?|liver|baby|toddler|weight loss|supplements?|vitamins?|breath\w*|burn(?:s|ed|t)?|pulse|treatment|recover\w*",
    ),
    "coding": (
        r"python|javascript|typescript|java|golang|rust code|sql|sqlite|postgres\w*|mysql|php|html|css|django|flask|react|node\.?js"
        r"|bash|powershell|regex|stack ?trace|traceback|null pointer|segfault|unit tests?|docker\w*|kubernetes|npm|git|github"
        r"|cron|pandas|numpy|api|endpoint|source code|code review|compil\w+|debug\w*|refactor\w*|codebase|programming"
        r"|one-liner|shell|c\+\+|c#|xss|csrf|sql injection|jwt|oauth|awk|sed|excel macro|vba|backend|front-?end|json|yaml",
        r"code|function|script|loop|array|variable|class|method|query|database|table|server|login|password hash\w*|hash(?:es|ing)?"
        r"|exception|error|crash(?:es)?|app|web ?site|web ?page|upload|string|integer|pointer|buffer|repo|commit|branch|deploy"
        r"|input|output|parse|csv|log|command|terminal|program|programme?r|snippet|library|framework|cookie|token|encrypt\w*",
    ),
}
# What stands in a request only when it is about code, whatever the words around it.
CODE = re.compile(r"```|\w\(\)|\b\w+\.(?:py|js|ts|sql|sh|cpp|java|php|html|txt)\b|==|!=|=>|\bi\+\+|</\w+>|SELECT .+ FROM", re.I)


def route(request: str | Conversation) -> tuple[Domain, ...]:
    """The domains of a request, in the order of `DOMAINS`; of a conversation all user turns count."""
    found = cues(request)
    return tuple(domain for domain in DOMAINS if found[domain] >= ENOUGH)


def cues(request: str | Conversation) -> dict[Domain, int]:
    """How much speaks for each domain: 2 for every different strong cue, 1 for every different weak one."""
    text = request if isinstance(request, str) else "\n".join(turn.content for turn in request if turn.role == "user")
    found = {}
    for domain in DOMAINS:
        strong, weak = _patterns(domain)
        found[domain] = STRONG * _different(strong, text) + WEAK * _different(weak, text)
    found["coding"] += STRONG * bool(CODE.search(text))
    return found


def _different(pattern: re.Pattern[str], text: str) -> int:
    return len({match.group().lower().removesuffix("s") for match in pattern.finditer(text)})


@cache
def _patterns(domain: Domain) -> Sequence[re.Pattern[str]]:
    return [re.compile(rf"(?<!\w)(?:{words})s?(?!\w)", re.IGNORECASE) for words in CUES[domain]]
