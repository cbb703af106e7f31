"""Which domains a request belongs to, so that a domain's principle is applied there and nowhere else.

Rules: a strong cue (`homework`, `landlord`, `dosage`, `sqlite`) counts two; a weak one (`teacher`, `police`, `doctor`,
`server`) one, and only those of one sentence add up. Every cue counts once however often it stands there; a domain with two
or more is chosen. A request can belong to several domains or to none. No model, no state: the same words always go the same
way. Cues are the patterns below and the plain words of `solon.constitution.vocabulary`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import get_args

from solon.constitution.vocabulary import OWN, SHARED, Domain
from solon.core.records import Conversation

DOMAINS: tuple[Domain, ...] = get_args(Domain)
ENOUGH = 2
STRONG, WEAK = 2, 1
ROUTING = 1
"""Goes up whenever the rules change, so that what was drawn by them is made anew."""

# Strong cues, then weak ones. Each alternative is matched as whole words, with or without a final s.
CUES: dict[Domain, tuple[str, str]] = {
    "academic": (
        r"homework|essays?|assignments?|coursework|dissertation|thesis|term paper|lab report|problem set|worksheet|vocab(?:ulary)? test"
        r"|exams?|midterms?|finals week|pop quiz|take[- ]home|due (?:today|tomorrow|tonight|friday|monday)|(?:in|for) class"
        r"|hand(?:ed|ing)? (?:it |this |that )?in|plagiari[sz]\w*|tutor(?:ing)?|gcses?|a[- ]levels?|syllabus|phd|doctorate"
        r"|(?:my|our|the) (?:course|module|seminar|professor|lecturer|prof|maths? class|class(?:es)?)|book report|personal statement"
        r"|bibliography|citations?|cite|citing|apa|mla|literature review|flash ?cards?|revis(?:e|ing|ion) for|college application"
        r"|(?:question|exercise|problem|answer to) \d+[a-z]?|word problem|integrat(?:e|ing) (?:x|the function)|factori[sz]e|quadratic"
        r"|how (?:do|can|would) (?:i|you|we) (?:factor|solve|derive|integrate|differentiate|prove|balance|conjugate|calculate the)|when do i use"
        r"|\w\^\d|school project|science fair|dois?|explain to my (?:son|daughter|kid|child)",
        r"teacher|school|university|college|uni|students?|grades?|graded|lecture|textbook|chapter|study(?:ing)?|studies|supervisor"
        r"|learn(?:ing)?|class|quiz|campus|semester|undergraduate|freshman|explain why|solve|equation|proof|prove|stuck|derive|factor"
        r"|paragraph|maths?|chemistry|biology|physics|history|calculus|algebra|statistics|tests?|vocab\w*|integral|integrating|fractions?"
        r"|grammar|professor|pupils?|sources?|podcast|scene|poem|novel|substitution|rephrase|finals|answers for|explain|papers?|language|verbs?",
    ),
    "legal": (
        r"lawyers?|solicitors?|attorneys?|barristers?|legal(?:ly|ity)?|illegal(?:ly)?|lawful|lawsuits?|sue|sued|suing|court|landlords?"
        r"|tenan(?:ts?|cy)|evict(?:ed|ion)?|custody|probate|divorce|prenup\w*|copyright(?:ed)?|infring\w+|trademarks?|patents?|visa"
        r"|asylum|deport\w*|arrest(?:ed)?|bail|small claims|tribunal|unfair dismissal|wrongful(?:ly)?|redundancy|nda|settlement|notary"
        r"|liab(?:le|ility)|defamation|libel|slander|statutes?|statutory|against the law|laws|gdpr|power of attorney|debt collector"
        r"|inherit(?:ance)?|executor|breach of contract|non-?compete|restraining order|criminal record|prosecut\w*|shoplift\w*"
        r"|plead|witness|misdemeanou?r|felony|immigration|what are my rights|my rights|am i (?:allowed|liable|entitled)|allowed to"
        r"|a (?:will|trust)|last will|testament|sold as seen|do i have to pay|small print|work permit|residence permit|customs"
        r"|contracts?|deed|leases?|binding|enforceable|minimum wage|unpaid wages|personal data|rear-ended|at fault|whose fault|land register"
        r"|(?:is|are|am|was|were) [^.?!]{1,60}\b(?:allowed|permitted|valid)"
        r"|can (?:my|the|our|an?|his|her|their) (?:\w+ )?(?:boss|employer|bank|school|airline|ex|neighbou?r|police|company|shop|seller|council|insurer)"
        r"|can (?:i|we|he|she|they) (?:be )?(?:evicted|fired|sued|fined|forced|charged|claim|get (?:money|compensation|a refund)|refuse|withhold)"
        r"|rights|by law|child support|tried as|without (?:asking|permission|my consent)|left (?:everything|the house|it all) to"
        r"|refus(?:es?|ed|ing) to (?:take back|refund|pay|leave|let|give back)|back out of (?:the|a)|get out of (?:the|a|my) (?:purchase|lease|deal)"
        r"|police (?:want|stopped|came|ask|took|search|say|said)\w*",
        r"deposit|rent|police|fined?|rights?|notice|fired|dismissed|employ(?:er|ee)|severance|refund|warranty|signed?|sick leave"
        r"|agreement|clause|insurance|claim|permit|licen[cs]e|property|ex-?(?:wife|husband|partner)|my ex|neighbou?r|the law|unpaid|overtime"
        r"|fees?|settle|insurer|accident|in writing|valid|boss|separat\w+|married|sold|seller|terms and conditions|evidence|consent|judge|jury|compensation|parking ticket|owe|entitled|debt|bill|cancel(?:led|ed)?|private seller"
        r"|accus\w+|guilty|crime|stole|stolen|theft|steal|charged?|trust|will|is it (?:ok|okay|legal)|company name|airline|declare|record(?:ing)?s?",
    ),
    "medical": (
        r"symptoms?|diagnos\w+|prescri\w+|dos(?:e|es|age)|\d+ ?mg|antibiotics?|ibuprofen|paracetamol|aspirin|antidepressants?|painkillers?"
        r"|medic(?:ation|ations|ine|al advice)|vaccin\w*|insulin|diabet\w+|asthma|cancer|tumou?r|migraines?|fever|rash(?:es)?|cough(?:ing)?"
        r"|nausea|vomit\w*|dizz\w+|diarrh\w+|blood pressure|cholesterol|pregnan\w+|miscarriage|infect(?:ion|ed)|allergic reaction"
        r"|eczema|arthritis|epilep\w+|seizures?|stroke|heart attack|palpitations|chest (?:pain|feels)|gp(?!s)|surgery|surgeon|biopsy|mri|x-?ray"
        r"|side effects?|contracepti\w+|menopaus\w+|thyroid|an(?:a)?emi(?:a|c)|concussion|stitches|std|sti|hiv|covid|flu|dementia|alzheimer\w*"
        r"|(?:head|stomach|back|ear|tooth|belly)[- ]?aches?|period is|my period|swollen|numb(?:ness)?|blister\w*|overdose|adhd|autis\w+|bipolar"
        r"|slurred|tick bite|sprain\w*|fractur\w+|insomnia|suicid\w*|depression|detox|toxins?|3[789][.,]\d|physio\w*|tetanus"
        r"|(?:my|her|his|your|their|the) (?:\w+ )?(?:tablets|pills|meds)|(?:quit|stop|give up) smoking|whiplash|(?:always|constantly|so) tired"
        r"|(?:gained|lost) \d+ ?(?:kg|kilos|pounds|lbs)|kill myself|self-?harm|cuts on my|better off (?:without me|if i)|be dead",
        r"doctor|nurse|hospital|pharmac\w+|therap\w+|pains?|painful|hurts?|hurting|sore|bleed\w*|blood|pills?|tablets?|itch\w*|lump|mole|allerg\w+"
        r"|bruis\w*|sick|ill|illness|tired|sleep|anxiety|depress\w+|virus|skin|throat|knee|ankle|shoulder|neck|chest|heart|stomach|belly|lungs?|breast"
        r"|kidneys?|liver|baby|toddler|weight loss|supplements?|vitamins?|breath\w*|burn(?:s|ed|t)?|pulse|treat(?:ment)?|recover\w*|mouth|period"
        r"|smok(?:e|ing)|fast(?:ing)?|body|bite|safe|cuts|temp(?:erature)?|safe to|operation|injur\w+|forgot|hallucinat\w*|hormone|diet|clinic|negative",
    ),
    "coding": (
        r"python|javascript|js|typescript|java|golang|in (?:go|rust|c|r)|sql|sqlite|postgres\w*|mysql|jdbc|php|html|css|django|flask|react|express|spring boot"
        r"|node|node\.?js|bash|powershell|linux|regex|stack ?trace|traceback|null pointer|segfault|unit tests?|docker\w*|kubernetes|npm|pip|git|github"
        r"|cron|pandas|numpy|api|endpoint|source code|code review|compil\w+|debug\w*|refactor\w*|codebase|programming|syntax error|recursion|recursive"
        r"|one-liner|shell|c\+\+|c#|xss|csrf|cors|sql injection|jwt|oauth|awk|sed|excel macro|vba|backend|front-?end|json|yaml|(?:for|while) loop"
        r"|docstring|list comprehension|binary search|linked list|left join|inner join|imagemagick|ssl certificate|hack(?:ing)? into|wi-?fi password|stdin",
        r"code|function|script|loop|array|variable|class|method|query|database|table|server|login|password|hash(?:es|ing)?|join|folder|file|directory"
        r"|exception|error|crash(?:es)?|app|web ?site|web ?page|upload|string|integer|pointer|buffer|repo|commit|branch|deploy|sorted|sort|dict(?:s|ionar\w+)?"
        r"|input|output|parse|csv|log|command|terminal|program|programme?r|snippet|library|framework|cookie|token|encrypt\w*|list|bug|socket|archive"
        r"|wi-?fi|spreadsheet|formula|column|off[- ]by[- ]one|key|permission|recursively",
    ),
}
# What stands in a request only when it is about code, whatever the words around it.
CODE = re.compile(
    r"```|\w\(\)|\b\w+\.(?:py|js|ts|sql|sh|cpp|java|php|html|txt)\b|==|!=|=>|\bi\+\+|</\w+>|SELECT .+ FROM|\b[A-Z]\w+Error\b"
)
_SENTENCES = re.compile(r"[.!?;\n]+(?=\s|$)|\n")


def route(request: str | Conversation) -> tuple[Domain, ...]:
    """The domains of a request, in the order of `DOMAINS`; of a conversation all user turns count."""
    found = cues(request)
    return tuple(domain for domain in DOMAINS if found[domain] >= ENOUGH)


def cues(request: str | Conversation) -> dict[Domain, int]:
    """How much speaks for each domain: 2 for every different strong cue, 1 for every different weak one of the sentence
    that has most of them."""
    text = request if isinstance(request, str) else "\n".join(turn.content for turn in request if turn.role == "user")
    found = {}
    for domain in DOMAINS:
        strong, weak = _patterns(domain)
        near = max(_different(weak, sentence) for sentence in _SENTENCES.split(text))
        found[domain] = STRONG * _different(strong, text) + WEAK * near
    found["coding"] += STRONG * bool(CODE.search(text))
    return found


def _different(pattern: re.Pattern[str], text: str) -> int:
    return len({match.group().lower().removesuffix("s") for match in pattern.finditer(text)})


@cache
def _patterns(domain: Domain) -> Sequence[re.Pattern[str]]:
    out = []
    for patterns, words in zip(CUES[domain], (OWN[domain], SHARED[domain]), strict=True):
        plain = "|".join(re.escape(word).replace(r"\-", "[- ]") for word in sorted(words.split(), key=len, reverse=True))
        out.append(re.compile(rf"(?<!\w)(?:{patterns}|{plain})(?:e?s)?(?!\w)", re.IGNORECASE))
    return out
