"""Instructions in a text that is only to be read: a document that was retrieved, a page, or what a tool gave back.

Rules, each with a weight that says how sure it is alone. The score of a text is the chance that at least one is right, were
they independent: 1 - (1 - w1)(1 - w2)... They know the wordings of published attacks; a new wording passes them, so they
are one tier of a cascade and no promise. A user may say such things in a user's turn; there they are not looked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from solon.safety.guard.reading import hidden, readings, zero_width
from solon.safety.guard.rulings import Finding

_FORGET = r"(?:ignor\w*|disregard\w*|forget\w*|overlook|override|overrule|skip|neglect|drop|discard|pay no attention to|do not follow|don't follow|stop following)"
_BEFORE = r"(?:previous|prior|above|earlier|preceding|foregoing|initial|original|existing|past|former|system)"
_ORDERS = r"(?:instruct\w*|directi\w*|prompts?|rules?|guidelines?|commands?|orders?|context|text|messages?|constraints?|everything|programming|training)"


@dataclass(frozen=True)
class Rule:
    """A pattern and how sure it is alone."""

    name: str
    pattern: re.Pattern[str]
    weight: float


def _rule(name: str, weight: float, *patterns: str) -> Rule:
    return Rule(name, re.compile("|".join(f"(?:{one})" for one in patterns), re.IGNORECASE | re.MULTILINE), weight)


RULES = (
    _rule(
        "override", 0.9,
        rf"\b{_FORGET}\b[^.!?\n]{{0,40}}?\b{_BEFORE}\b[^.!?\n]{{0,30}}?\b{_ORDERS}\b",
        rf"\b{_FORGET}\b[^.!?\n]{{0,20}}?\b(?:all|any|the|your|my|these|those)\b[^.!?\n]{{0,20}}?\b(?:instruct\w*|directi\w*|guidelines?|programming)\b",
        rf"\b{_FORGET}\b (?:all |everything )?(?:that |what )?(?:you (?:were|have been|'ve been) (?:told|asked|instructed|given)|(?:was|is) (?:written |said )?(?:above|before))",
        r"\binstead of (?:following|obeying|doing) (?:the |your )?(?:instructions?|task|request)\b",
    ),
    _rule(
        "override, other languages", 0.85,
        r"\b(?:ignor(?:ez|er|a|ad|ar|iere[nt]?|eer|e (?:las?|los|as|os|le istruzioni))|oubli(?:ez|e)|olvid[ae]|vergiss|vergesst|vergessen sie|dimentica(?:te)?|esque[çc]a|abaikan|zignoruj|bortse från)\b"
        r"[^.!?\n]{0,40}\b(?:instru\w+|anweisung\w*|istruzioni|consignes?|[óo]rdenes|befehle?|instruksi|perintah|polecenia|aanwijzingen|fonction|funci[óo]n|funktion|funzione|fun[çc][ãa]o)\b",
        r"(?:игнорируй|забудь|проигнорируй)[^.!?\n]{0,40}(?:инструкци|указани)", r"(?:忽略|无视|忘记)[^。\n]{0,12}(?:指令|指示|说明|提示)",
        r"(?:指示|命令)[^。\n]{0,8}(?:無視|忘れ)", r"(?:निर्देश)[^।\n]{0,20}(?:अनदेखा|नज़रअंदाज़)", r"(?:تجاهل|انس)[^.\n]{0,30}(?:التعليمات|الأوامر)",
    ),
    _rule(
        "role mark", 0.85,
        r"<\|?(?:im_start|im_end|system|assistant|endoftext|start_header_id|eot_id)\|?>", r"\[/?(?:INST|SYS|SYSTEM)\]|<</?SYS>>",
        r"[<\[({]\s*\\?/?\s*system[ _-]*(?:mode|prompt|message|override|admin|command)", r"^\s*#{1,4} *(?:system|instructions? to (?:the )?(?:assistant|ai|model)|new instructions?)\b",
        r"^\s*(?:system|assistant|developer)\s*(?:message|prompt)?\s*:", r"\b(?:entering|activat\w+|enable\w*|switch(?:ing)? to) (?:system|developer|admin|god|debug|dan) mode\b", r"\bsystem mode activated\b",
    ),
    _rule(
        "speaks to the model", 0.5,
        r"\b(?:(?:attention|note|notice|message|instructions?|important|hey|dear)\b[^.!?\n]{0,20}|to (?:the|any|all|whichever) )\b(?:AI|LLM|language model|chat ?bot|assistants?|GPT|summari[sz]er)\b(?: (?:reading|processing|summari[sz]ing|reviewing))?",
        r"\b(?:if|when|since|as) you(?: are|'re) an? (?:AI|LLM|large language model|language model|assistant|chat ?bot)\b", r"\byou are (?:now|no longer|from now on)\b(?! (?:able|ready|logged|leaving|subscribed|connected))",
        r"\byou(?:'ve| have) been instructed to\b", r"\b(?:from|starting) now on,? (?:you|respond|answer|reply|act)\b", r"\b(?:your|the) (?:new|real|actual|updated|only) (?:task|goal|objective|instructions?|role|job|purpose) (?:is|are|:)",
        r"\bact as (?:if|though|an? (?:unrestricted|evil|different|developer))\b", r"\bpretend (?:that )?(?:you|to be)\b", r"\bdo anything now\b|\bDAN\b",
    ),
    _rule(
        "dictates the answer", 0.7,
        r"\b(?:state|say|claim|report|respond|reply|answer|conclude|write|print|output|indicate|pretend|assert|tell (?:the user|them|him|her))\b (?:instead |only |just |simply )*(?:with |that |in )*(?:the )?(?:conclusion|output|answer|result|sum|total|summary|translation|response|weather|price)\b[^.!?\n]{0,30}?\b(?:is|was|are|should be|would be|equals?|could be)\b",
        r"\b(?:the |your )?(?:output|answer|response|summary|conclusion|sum|result)s?\b[^.!?\n]{0,40}\b(?:must|should|could|has to|needs to|will) (?:always |only |instead |now )*(?:be|contain|include|say|read|end with|begin with)\b",
        r"\b(?:we|let's|let us|i) (?:state|pretend|say|assume|imagine|agree) that (?:the )?(?:conclusion|output|answer|result|sum|total)\b",
        r"\b(?:respond|reply|answer) (?:only )?(?:with|by|using|in)\b[^.!?\n]{0,30}(?:only|\"|')", r"\bregardless of (?:the|what|any)\b[^.!?\n]{0,40}\b(?:say|answer|respond|reply|output|print)\b",
        r"\bdo not (?:summari[sz]e|translate|answer|mention|complete)\b[^.!?\n]{0,60}\b(?:instead|but|rather|just)\b",
    ),
    _rule(
        "asks for secrets", 0.75,
        r"\b(?:reveal|repeat|print|show|output|disclose|leak|display|give(?: me)?|tell(?: me| us)?|share|send|recite|dump)\b[^.!?\n]{0,30}\b(?:system prompt|your (?:instructions?|prompt|rules|guidelines|configuration)|initial prompt|hidden (?:prompt|instructions?)|api[ _-]?keys?|credentials|access tokens?|secret key|private keys?|passwords?|(?:user|chat|conversation|employee|customer)(?:'s)? (?:data|history|records|information|details))\b",
    ),
    _rule(
        "sends data away", 0.8,
        r"\b(?:send|e-?mail|forward|post|upload|transmit|exfiltrate|submit|copy|report|append)\b[^.!?\n]{0,80}?\b(?:to|at|via|into)\b[^.!?\n]{0,20}(?:[\w.+-]+@[\w-]+\.\w+|https?://\S+)",
        r"!\[[^\]]*\]\(https?://[^)\s]*[?&][^)\s]*=[^)]*\)", r"<img[^>]+src=[\"']?https?://[^\"'>]*\?[^\"'>]*[={]",
    ),
    _rule(
        "hides from the user", 0.8,
        r"\b(?:do not|don't|never|without) (?:tell|inform|mention|notify|alert|reveal|show|let)\w*\b[^.!?\n]{0,25}\b(?:user|human|person|anyone|them|customer|this (?:instruction|message|note|text))\b", r"\bkeep (?:this|these) (?:instructions? )?(?:secret|hidden|confidential|between us)\b",
    ),
    _rule(
        "calls a tool", 0.65,
        r"\b(?:call|invoke|run|use|execute|trigger) (?:the |this |following |your )*[`'\"]?\w+[`'\"]? (?:tool|function|command|plugin|api)\b[^.!?\n]{0,60}\b(?:with|to|and|on|now)\b",
        r"\b(?:run|execute) (?:the following|this) (?:command|code|script|query)\b", r"<(?:tool_call|function_call|invoke)\b", r"\"?(?:tool_calls?|function_call)\"?\s*:\s*[\[{]",
    ),
    _rule("urgent order", 0.3, r"\b(?:immediately|urgent(?:ly)?|right now|at once|mandatory|critical|very important)\b[^.!?\n]{0,60}\b(?:you must|follow|obey|comply|execute|do as)\b", r"\byou must (?:now |always |first )?(?:obey|comply|follow|ignore|respond|answer|say|output|include)\b"),
    _rule("another world", 0.45, r"\b(?:in|consider|imagine|suppose)\b[^.!?\n]{0,30}\b(?:hypothetical (?:scenario|world|situation)|parallel (?:universe|world)|alternate (?:universe|reality|world)|virtual (?:world|machine|reality)|world where)\b[^.!?\n]{0,80}\b(?:output|answer|conclusion|sum|result|password|weather|summary|print|state|say)\b"),
)  # fmt: skip
HIDDEN, DISGUISED, INVISIBLE = "invisible letters", "in disguise", "invisible characters"


def findings(text: str) -> tuple[Finding, ...]:
    """Every rule that fires, with the offset of its first place in the text, or in which disguise it was found. Raises
    `DataError` for a text of which there is more than can be looked at."""
    out: dict[str, Finding] = {}
    for number, reading in enumerate(readings(text)):
        for rule in RULES:
            match = rule.pattern.search(reading)
            if match and rule.name not in out:
                where = str(match.start()) if number == 0 else f"reading {number}"
                out[rule.name] = Finding(rule.name, where, rule.weight)
                if number:  # who disguises an instruction means it
                    out.setdefault(DISGUISED, Finding(DISGUISED, f"reading {number}", 0.6))
    if len(hidden(text)) >= 4:
        out[HIDDEN] = Finding(HIDDEN, str(next(i for i, c in enumerate(text) if 0xE0020 <= ord(c) <= 0xE007E)), 0.9)
    if zero_width(text) >= 8:
        out[INVISIBLE] = Finding(INVISIBLE, f"{zero_width(text)} of them", 0.4)
    return tuple(out.values())


def score(found: Sequence[Finding]) -> float:
    """The chance that at least one of the findings is right."""
    miss = 1.0
    for one in found:
        miss *= 1 - one.weight
    return 1 - miss
