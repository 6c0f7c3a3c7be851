"""What a text is built like: a few dozen yes-or-no features beside the words it is made of.

Words change from one collection of texts to the next, ways of asking hardly do: an order to forget
what was said before, a second self without rules, a ban on refusing, a speaker's mark inside a
message; a wish to die in the first person, eating disorders in the words of those who have them.
Each feature is one pattern over :func:`moderation.stages.normalise.plain` text, with bounded
repeats only. They were written from descriptions of the attacks and hazards, not from test texts.
"""

from __future__ import annotations

import re

_RULES = (
    r"(?:instruction|direction|rule|guideline|prompt|polic|restriction|filter|constraint|"
    r"programming|training|context|safeguard|limitation)"
)
_PATTERNS: dict[str, str] = {
    # -- orders to a model -----------------------------------------------------------------------
    "override": r"\b(?:ignor|disregard|forget|overrid|overwrit|bypass|discard|skip|cancel|drop|"
    r"stop follow|do not follow|don't follow|pay no attention)\w{0,6}\b.{0,50}\b" + _RULES,
    "override_all": r"\b(?:ignor|disregard|forget)\w{0,4}\b.{0,20}\b(?:all|every|any|everything|"
    r"previous|prior|above|earlier|preceding|before)\b",
    "override_other": r"忽略.{0,8}(?:指令|指示|规则|提示|要求)|无视.{0,8}(?:指令|规则|限制)|"
    r"忘(?:记|掉).{0,8}(?:指令|规则|设定)|ignor[ea]\w{0,3}.{0,30}(?:instruc|consigne|règle|regla)|"
    r"(?:ignorier|vergiss).{0,40}(?:anweisung|regel|vorgab)|oublie.{0,30}(?:instruction|règle)|"
    r"забудь.{0,30}(?:инструкц|правил)|игнорируй.{0,30}(?:инструкц|правил)|指示を無視",
    "new_task": r"\bnew (?:task|instruction|rule|order|objective|directive|system prompt)s?\b|"
    r"\binstead,? (?:you (?:must|should|will)|print|say|write|output|reply|respond)\b",
    "second_self": r"\b(?:you are now|you're now|from now on,? you|you will (?:now )?(?:act|play|"
    r"be)|act as|pretend|role-?play|simulate|imagine you are|become)\b",
    "unbound": r"\b(?:no|without|free (?:of|from)|lacks?|ignores?|not bound by|beyond)\b.{0,25}\b"
    r"(?:restriction|limit|rule|filter|censor|guideline|moral|ethic|boundar|conscience)|"
    r"\bun(?:filtered|restricted|censored|limited|bound|chained|shackled)\b|"
    r"\bamoral\b|\bdo anything now\b",
    "mode": r"\b(?:developer|debug|god|sudo|admin|root|maintenance|jailbreak|dan|unrestricted|"
    r"test(?:ing)?|diagnostic|opposite|evil|uncensored)[ -]mode\b|\bjail ?brok?e?n?\b",
    "never_refuse": r"\b(?:never|don't|do not|cannot|can't|must not|won't|shall not|not allowed to)"
    r"\b.{0,25}\b(?:refus|declin|apologi[sz]|say no|say you can|warn|disclaim|moraliz|moralis|"
    r"lectur|reject|mention|break character|remind)",
    "must_obey": r"\b(?:must|have to|always|will)\b.{0,20}\b(?:obey|comply|answer (?:any|every|"
    r"all)|fulfil|do (?:whatever|anything|exactly))|\bat all costs\b|\bno matter (?:what|how)\b",
    "two_voices": r"\[?\b(?:classic|jailbreak|normal|gpt|dan)\]?\b.{0,60}\b(?:and|then)\b.{0,60}"
    r"\[?\b(?:jailbreak|dan|evil|unfiltered)\b|\btwo (?:answers|responses|ways|replies)\b",
    "leak": r"\b(?:reveal|repeat|print|show|tell me|output|display|leak|disclose|give me|"
    r"what (?:is|"
    r"was|are)|spell|encode|translate|summari[sz]e|recite)\b.{0,40}\b(?:system prompt|secret|"
    r"password|passphrase|initial (?:prompt|instruction)|hidden (?:prompt|text)|confidential|"
    r"your (?:instruction|prompt|rule|guideline)s?|(?:text|words|everything|sentence)s? above|"
    r"api key|secret key)",
    "speaker": r"(?:^|\n)\s*[\[<#*]{0,3}\s*(?:system|assistant|developer|admin|user)\s*[\]>#*]{0,3}"
    r"\s*:|<\|[^|\n]{1,30}\|>|\[/?inst\]|<</?sys>>|#{2,4}\s?(?:instruction|system|response)",
    "to_machine": r"\b(?:as an?|dear|attention|note to (?:the|any)|hey|hello|hi)\s(?:ai|llm|"
    r"chatgpt|"
    r"language model|assistant|bot|model|gpt)\b|\bchat ?gpt\b|\blarge language model\b|\bopenai\b",
    "authority": r"\b(?:i am|i'm|this is|the user is|as)\s(?:an?|the|your|now)?\s?(?:admin\w{0,10}|"
    r"developer|owner|creator|engineer|root|operator|researcher|authori[sz]ed)\b",
    "fiction": r"\b(?:hypothetical|fictional|in a (?:world|story|novel|movie)|for (?:a|"
    r"my) (?:novel|"
    r"story|script|screenplay)|imaginary|purely educational|educational purposes|just a game)\b",
    "payload": r"\b(?:base ?64|rot ?13|hex(?:adecimal)?|cipher|caesar|morse|leetspeak|backwards|"
    r"reversed?|emoji code|pig latin|decode|concatenat\w{1,4}|fill in the mask)\b",
    "token_game": r"\b(?:lose|lost|deduct|gain|earn)\w{0,4}\b.{0,20}\b(?:token|point|life|"
    r"lives)s?\b",
    "begin_with": r"\b(?:begin|start)\b.{0,25}\b(?:with|by saying)\b.{0,15}[\"'“«]|"
    r"\byour (?:answer|reply|response) (?:must|should|has to) (?:begin|start)",
    # -- harm to oneself -------------------------------------------------------------------------
    "self_die": r"\b(?:i|i'm|i've|i'd|me|my|myself|im)\b.{0,45}\b(?:die|dead|dying|kill(?:ing)? "
    r"my ?self|suicid\w{0,4}|unalive|end(?:ing)? (?:it|my life|everything)|not (?:be|wake|exist)|"
    r"disappear|better off without|hang(?:ing)? myself|overdos\w{1,4})\b",
    "self_die_words": r"\bsuicid\w{1,4}\b|\bself[- ]?(?:harm|injur|mutilat|destruct|"
    r"immolat)\w{0,4}|"
    r"\bkill (?:my|your|him|her|them|one)sel(?:f|ves)\b|\bunaliv\w{1,3}\b|\bkms\b|\bkys\b|"
    r"\b(?:end|take|taking|ending) (?:my|your|his|her|their|one's) (?:own )?li(?:fe|ves)\b",
    "self_cut": r"\b(?:cut|cutting|burn|burning|hurt|hurting|harm|harming|hit|hitting|punch\w{0,3})"
    r"\b.{0,15}\b(?:my|your|our|one)sel(?:f|ves)\b|\b(?:cut|slit|slash)\w{0,4}\b.{0,15}\b(?:wrist|"
    r"arm|thigh|vein)s?\b|\b(?:razor|blade)s?\b.{0,25}\b(?:skin|wrist|arm|myself)",
    "self_end": r"\b(?:no (?:reason|point|use) (?:to|in|of) (?:live|living|going on|life)|"
    r"(?:don't|do not|dont) (?:want|wanna|deserve) to (?:live|be alive|be here|exist|go on)|"
    r"tired of (?:living|life|being alive)|can't go on|goodbye (?:letter|note|everyone|world)|"
    r"suicide note|last (?:letter|message|note) before)\b",
    "self_eat": r"\bpro[- ]?(?:ana|mia)\b|\bthinsp\w{1,8}|\bbonesp\w{1,6}|\banorexi\w{1,3}|"
    r"\bbulimi\w"
    r"{1,3}|\b(?:purg|vomit|throw(?:ing)? up|laxative|starv)\w{0,5}\b.{0,40}\b(?:meal|eat|eating|"
    r"food|weight|calorie|thin|skinny|slim|lose)|\b(?:stop|avoid|without|not|hide|hiding|skip)\w"
    r"{0,4} (?:eating|meals|food)\b|\b(?:[1-9]00|under 500|zero) calories\b",
    "self_means": r"\b(?:lethal|fatal|deadly|painless|peaceful|quick|least painful)\w{0,3}\b.{0,30}"
    r"\b(?:dose|way|method|means|amount|exit|death|to die)\b|\bhow many\b.{0,20}\bpills\b|"
    r"\bnoose\b|"
    r"\bjump\w{0,4}\b.{0,15}\b(?:bridge|roof|window|building|train|cliff)s?\b",
    "self_help": r"\b(?:help|support|prevent|hotline|therap|counsel|recover|treat|sign)\w{0,7}\b"
    r".{0,40}\b(?:suicid|depress|self[- ]?harm|anorexi|bulimi|eating disorder)",
    "self_other": r"自杀|自殺|自残|自伤|割腕|不想活|想死|轻生|死にたい|リストカット|죽고 싶|"
    r"자살|자해|"
    r"suicid|selbstmord|umbringen|ritze|me matar|matarme|quiero morir|voglio morire|quero morrer|"
    r"me tuer|veux mourir|mettre fin à mes jours|scarifi|хочу умереть|самоуби|режу себя|zelfmoord|"
    r"samobój|chcę umrzeć|أنتحر|انتحار|आत्महत्या|intihar|bunuh diri|tự tử|ฆ่าตัวตาย",
    "laughing": r"\b(?:dying|died|dead|killed me|kills me)\b.{0,15}\b(?:laugh|of thirst|of boredom|"
    r"hungry|tired|battery|phone|server|process|line)\w{0,3}|\bkill (?:a |the |all |some |this )?"
    r"(?:process|thread|time|weeds?|bugs?|the lights|zombies?|boss)\b",
}
_COMPILED = tuple((name, re.compile(pattern, re.DOTALL)) for name, pattern in _PATTERNS.items())

VALUE = 0.6
"""What a feature that holds counts for, beside n-grams of which all together have length one."""


def names() -> list[str]:
    """Every feature's name, in order."""
    return list(_PATTERNS)


def found(text: str) -> list[str]:
    """The features that hold for a text in lower case."""
    return [name for name, pattern in _COMPILED if pattern.search(text)]
