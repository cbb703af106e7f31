"""Which language a text is in, by its script, by letters that only one language has, and by its commonest words.

It knows the 30 languages that IFEval asks for and a dozen of their neighbours. The reference uses `langdetect`, which
draws at random; this gives one answer to one text. What it takes for a language is written here to be read.
"""

from __future__ import annotations

import re
from collections import Counter
from unicodedata import normalize

SCRIPTS = {
    "kn": "\u0c80-\u0cff", "gu": "\u0a80-\u0aff", "pa": "\u0a00-\u0a7f", "ta": "\u0b80-\u0bff", "te": "\u0c00-\u0c7f",
    "ml": "\u0d00-\u0d7f", "bn": "\u0980-\u09ff", "th": "\u0e00-\u0e7f", "he": "\u0590-\u05ff",
    "ko": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af", "kana": "\u3040-\u30ff", "han": "\u3400-\u9fff",
    "el": "\u0370-\u03ff", "arabic": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff",
    "devanagari": "\u0900-\u097f", "cyrillic": "\u0400-\u04ff", "latin": "a-z\u00e0-\u00ff\u0100-\u024f\u1e00-\u1eff",
}  # fmt: skip
RANGES = {name: re.compile(f"[{range}]") for name, range in SCRIPTS.items()}
LETTERS = {
    "fa": "پچژگکی", "ur": "ٹڈڑںےہھ", "ar": "ةىيكأإ",
    "uk": "іїєґь", "ru": "ыэёь", "bg": "ъ",
    "mr": "ळ", "es": "ñ¿¡", "de": "ßäöü", "fr": "çœêèàù", "pt": "ãõç", "pl": "łśźżąęćń", "vi": "êôâơưđăạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
    "fi": "äö", "sv": "åäö", "da": "æøå", "no": "æøå", "ro": "ăâîșțşţ", "cs": "ěščřžýůť", "tr": "ğışçöü", "hu": "őűáéö",
    "it": "òìàèù", "nl": "",
}  # fmt: skip
"""Letters that speak for a language among those of its script; each counts a little, words count more."""
WORDS = {
    "en": "the of and to in is that for it with as was on are be this by have from or an at not which you we his they i your a my has had will can their there what when who if so more about no answer here",
    "es": "de la que el en y a los se del las por un para con no una su al lo como más pero sus le ya o este sí porque muy todo toda derecho ni nadie será o sin esta tiene persona",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua você todo toda direito ou será nem ser ninguém pessoa sem",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec vous nous cette l d s n qu tout toute droit ou être aux sans",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass sie",
    "it": "di e il la che in a per un del è non una i si le con da sono della come più nel gli alla ma ha anche questo dei l d dell nell sul ad ed ogni diritto nessun sarà essere stato della nella al",
    "pl": "w i na z się do nie że to jest o jak a po co dla przez ma od być są lub oraz może jego ich tym każdy które",
    "vi": "và của là có không cho một các được người những trong với để này đã khi từ đến về tôi như nhưng cũng ra rất bạn mọi",
    "sw": "na ya wa kwa ni la katika za kila mtu haki ana au yake wake hii cha kama kuwa si hayo bila vya huu watu kwamba sana mimi",
    "fi": "ja on ei että se hän oli joka ovat kun mutta myös tai jos olen kuin sen niin mitä jokaisella oikeus hänen ole tämä voi",
    "nl": "de van het een en in is dat op te zijn voor met die niet aan er om ook als dan maar bij door naar heeft worden wordt ik",
    "sv": "och i att det som en på är av för med den till inte har de ett om var jag men sig från vi eller kan ska alla",
    "da": "og i at det er en til af på med for der den som de ikke har et om var jeg men sig fra vi eller kan skal enhver hans",
    "no": "og i at det er en til av på med for som den de ikke har et om var jeg men seg fra vi eller kan skal enhver hans etter",
    "ro": "și de la în a cu pe că nu este o să se un din pentru care sau mai au ce fi lui orice al sa ale prin are",
    "cs": "a se v na je že o s z do to i ve za ale jako k po být má by pro nebo jsou každý právo jeho své které není",
    "tr": "ve bir bu için da de ile çok daha olan gibi ne var her kadar değil olarak ben sonra veya herkes hakkı hakkına mi",
    "id": "yang dan di dengan untuk dari ini pada tidak dalam itu adalah orang atau akan juga saya oleh hak setiap ke sebagai bisa",
    "hu": "a az és hogy nem is van egy ez meg de minden joga csak vagy mint már el ki még azt lehet volt kell személynek",
    "ru": "и в не на что с он как это по но они к у из за от так для о же все бы был мы вы я или его её человек каждый может только при их быть право иметь является чтобы этот эти того или",
    "uk": "і в не на що з він як це по але вони до у за від так для про ж все би був ми ви я або його має та кожна людина",
    "bg": "и в не на че с той как това по но те към у от за се да са си е при или всеки има право като бъде което ще съм",
    "hi": "के का की है में को और से हैं पर यह कि एक नहीं भी ने या तो हो था थे किया लिए अधिकार प्रत्येक इस जो कर",
    "mr": "आणि आहे या च्या व ते हे तो ही असे नाही आहेत करण्याचा असेल किंवा केली प्रत्येक मला पण मी आपल्या होते त्याला कोणत्याही आहेत",
    "ne": "र छ को मा हो गर्ने पनि छन् भएको वा प्रत्येक अधिकार व्यक्तिलाई हुनेछ छैन यो गर्न लागि तथा गरेको आफ्नो म हुन् थियो",
    "ar": "في من على أن إلى هذا كل أو لا ما عن مع التي الذي هو هي كان لكل شخص الحق له ذلك قد بين لم هذه أي حق",
    "fa": "و در به از که این را با است برای آن یک هر خود تا کند بر حق دارد نیز یا شود باید های می کس هیچ بود",
    "ur": "کے اور کا کی میں ہے سے کو نے پر یہ کہ ہیں اس جو بھی کر ایک یا نہیں ہر شخص حق اپنے تو ہو گا کیا",
}  # fmt: skip
COMMON = {language: frozenset(words.split()) for language, words in WORDS.items()}
FAMILIES = {
    "latin": ("en", "es", "pt", "fr", "de", "it", "pl", "vi", "sw", "fi", "nl", "sv", "da", "no", "ro", "cs", "tr", "id", "hu"),
    "cyrillic": ("ru", "uk", "bg"),
    "devanagari": ("hi", "mr", "ne"),
    "arabic": ("ar", "fa", "ur"),
}


def detect(text: str) -> str | None:
    """The ISO 639-1 code of the likeliest language; None where the text holds no letters to go by."""
    text = normalize("NFC", text).lower()
    counts = {name: len(letters.findall(text)) for name, letters in RANGES.items()}
    script = max(counts, key=counts.__getitem__)
    if not counts[script]:
        return None
    if script in ("kana", "han"):
        return "ja" if counts["kana"] > 0.1 * (counts["kana"] + counts["han"]) else "zh"
    return _among(FAMILIES[script], text) if script in FAMILIES else script


def _among(languages: tuple[str, ...], text: str) -> str:
    """Share of words that are among a language's commonest, and a little for letters that speak for it.

    A word or a letter that several languages share counts for each of them by its share."""
    words = Counter(re.findall(r"[^\W\d_][\w\u0900-\u097f]*", text))
    total = max(sum(words.values()), 1)
    letters = Counter(text)
    scores = {}
    for language in languages:
        rivals = [other for other in languages if other != language]
        by_word = sum(
            count / (1 + 0.3 * sum(word in COMMON[other] for other in rivals))
            for word, count in words.items()
            if word in COMMON[language]
        )
        by_letter = sum(
            letters[letter] / (1 + sum(letter in LETTERS.get(other, "") for other in rivals))
            for letter in LETTERS.get(language, "")
        )
        scores[language] = by_word + 0.4 * min(by_letter, total)
    return max(scores, key=scores.__getitem__)
