"""The language of a post as a BCP 47 tag: what the feed says, otherwise what the text shows. Pure.

The script decides for Chinese, Japanese and Korean, which is exact on short posts and takes a microsecond. CLD2 decides
between the languages that share a script.
"""

from __future__ import annotations

import re

import pycld2

from models.text import language, without_links

#: The language of a text without letters, or of a text that no language fits clearly (ISO 639-2).
UNDETERMINED = "und"
#: Characters of a text that the detection reads.
READ = 1_000

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<rest>(?:-[a-z0-9]{1,8})*)"
)
#: What follows a tag in the name of a locale ("en_US.UTF-8"), in a list ("en,de;q=0.5") and in brackets.
_AFTER_TAG = re.compile(r"[.@,;(\s].*", re.DOTALL)
_NO_LETTERS = re.compile(r"[\W\d_]+")
#: CLD2 refuses a text with one of these: controls, surrogates and noncharacters.
_REFUSED = re.compile(
    r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"\\U{plane:04x}fffe\\U{plane:04x}ffff" for plane in range(17))
    + "]"
)
#: ISO 639-1.
_TWO_LETTERS = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo "
    "es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka "
    "kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng "
    "nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st "
    "su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu".split()
)
#: Codes of three letters, withdrawn codes, frequent mistakes and names -> the code of BCP 47.
_ALIASES = {
    alias: code
    for code, aliases in {
        "ar": "ara arabic العربية", "de": "deu ger german deutsch", "en": "eng english 英文 英语 英語",
        "es": "spa spanish español", "fa": "fas per persian farsi", "fr": "fra fre french français",
        "he": "iw heb hebrew", "hi": "hin hindi", "id": "in ind indonesian", "it": "ita italian italiano",
        "ja": "jp jpn japanese 日文 日语 日本語", "ko": "kr kor korean 한국어 韩语", "nl": "nld dut dutch",
        "pl": "pol polish", "pt": "por portuguese português", "ru": "rus russian русский", "sv": "swe swedish",
        "th": "tha thai", "tr": "tur turkish", "uk": "ua ukr ukrainian", "vi": "vie vietnamese", "yi": "ji",
        "yue": "cantonese 粤语 粵語", "zh": "cn zho chi cmn chinese mandarin 中文 汉语 漢語 中国語",
        "zh-hans": "简体中文 简体", "zh-hant": "繁体中文 繁體中文 繁体 繁體",
    }.items()
    for alias in aliases.split()
}  # fmt: skip
#: Codes that state no language: undetermined, several, none, not coded, and those for private use.
_NO_LANGUAGE = re.compile(r"und|mul|zxx|mis|q[a-t][a-z]")
#: Placeholders for a missing value that look like a code of three letters.
_MISSING = frozenset({"nan", "nil", "unk"})


def tag(said: str) -> str:
    """The tag in the form of BCP 47; `UNDETERMINED` for a code that states no language, "" for what is not a tag.

    >>> tag("ZH_cn"), tag("English (UK)"), tag("zh-hant-TW"), tag("mul"), tag("n/a")
    ('zh-CN', 'en', 'zh-Hant-TW', 'und', '')
    """
    lower = _AFTER_TAG.sub("", said.strip()).casefold().replace("_", "-")
    found = _TAG.fullmatch(_ALIASES.get(lower, lower))
    if not found or lower in _MISSING:
        return ""
    code = _ALIASES.get(found["language"], found["language"])
    if _NO_LANGUAGE.fullmatch(code):
        return UNDETERMINED
    if len(code) == 2 and code not in _TWO_LETTERS:
        return ""
    script, region = (found["script"] or "").title(), (found["region"] or "").upper()
    return "-".join(filter(None, (code, script, region))) + found["rest"]


def detect(text: str) -> str:
    """The code of the text's language, or `UNDETERMINED`; links, handles and repost markers do not count.

    >>> detect("手机 overheats, 我要退款"), detect("I want my money back"), detect("👍 12:30 http://t.cn/A1")
    ('zh', 'en', 'und')
    """
    read = without_links(text[:READ])
    if (by_script := language(_NO_LETTERS.sub("", read))) in {"ja", "ko", "zh"}:
        return by_script
    if not read.isprintable():
        read = _REFUSED.sub(" ", read)
    # CLD2 calls a short text reliable only with `bestEffort`.
    reliable, _, candidates = pycld2.detect(read, bestEffort=True)
    return (tag(candidates[0][1]) if reliable else "") or UNDETERMINED
