"""The texts of the demo. They were written for this project, and all brands and people are invented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SUBJECTS = {
    "Nova": ["nova phone", "nova x2", "诺瓦手机", "诺瓦"],
    "Kestrel": ["kestrel", "红隼汽车", "红隼"],
    "Lumen Air": ["lumen air", "流明航空"],
    "Greenleaf": ["greenleaf", "青叶外卖"],
    "Orbit": ["orbit phone", "远山手机", "远山"],
}


@dataclass(frozen=True)
class Voice:
    """The phrases of one group of writers; a post combines an opening, a core of its sentiment and an ending."""

    lang: str
    openings: tuple[str, ...]
    negative: tuple[str, ...]
    neutral: tuple[str, ...]
    positive: tuple[str, ...]
    endings: Mapping[str, tuple[str, ...]]


_EN_ENDINGS = {
    "negative": ("Never again.", "So disappointed.", "Worst purchase this year.", "I want my money back.", "Terrible."),
    "neutral": ("Details on their site.", "That is all for now.", "Source: press office.", "More on Monday.", ""),
    "positive": ("Love it!", "Highly recommended.", "Great job!", "So happy with it.", "Best choice I made."),
}
_ZH_ENDINGS = {
    "negative": ("太失望了。", "再也不买了。", "差评！", "要求退款。", "真的很垃圾。"),
    "neutral": ("详情见官网。", "消息来自官方。", "下周公布更多。", "特此通知。", ""),
    "positive": ("非常满意！", "强烈推荐。", "好评！", "太喜欢了。", "值得购买。"),
}

BRANDS: dict[str, tuple[Voice, Voice]] = {
    "Nova": (
        Voice(
            "en",
            ("Three weeks with the Nova phone:", "Nova X2 owner here,", "About my Nova phone:", "Nova X2 update,"),
            ("the battery dies by noon", "the screen cracked in my pocket", "it freezes every hour and lags badly"),
            ("the new model comes in four colours", "sales start on Thursday", "it ships with a 6.4 inch screen"),
            ("the camera is amazing", "battery lasts two full days", "it is fast and beautiful"),
            _EN_ENDINGS,
        ),
        Voice(
            "zh",
            ("诺瓦手机用了三周，", "刚换的诺瓦手机，", "说说我的诺瓦，", "诺瓦手机用户："),
            ("电池半天就没电，太差", "屏幕一碰就碎，质量差", "天天死机，卡得要命"),
            ("新机有四种颜色", "周四开始发售", "屏幕是6.4英寸"),
            ("拍照效果太棒了", "续航两天没问题，很好", "又快又漂亮，很喜欢"),
            _ZH_ENDINGS,
        ),
    ),
    "Kestrel": (
        Voice(
            "en",
            ("Test drive of the Kestrel today:", "My Kestrel after a year:", "Kestrel owners,", "The Kestrel wagon:"),
            ("the gearbox rattles and the dealer ignores me", "the brakes squeal, awful build", "it broke down twice"),
            ("the wagon seats five", "the order book opens in May", "the plant builds 400 cars a day"),
            ("what a smooth and quiet ride", "excellent handling and comfort", "the seats are wonderful"),
            _EN_ENDINGS,
        ),
        Voice(
            "zh",
            ("今天试驾红隼汽车，", "红隼开了一年，", "红隼车主说，", "红隼旅行版："),
            ("变速箱异响，店家不管", "刹车有异响，做工太差", "半路抛锚两次，气死人"),
            ("旅行版有五个座位", "五月开始接受预订", "工厂日产四百辆"),
            ("开起来安静平顺，很舒服", "操控很好，非常满意", "座椅很舒服，很喜欢"),
            _ZH_ENDINGS,
        ),
    ),
    "Lumen Air": (
        Voice(
            "en",
            ("Flying Lumen Air tonight:", "Lumen Air from Oslo:", "My Lumen Air trip:", "Lumen Air, row 14:"),
            ("four hours late and no apology", "they lost my bag, rude staff", "cancelled again, horrible service"),
            ("boarding is at gate 12", "the flight takes two hours", "the timetable changes in June"),
            ("friendly crew and on time", "lovely service and great food", "a very pleasant flight"),
            _EN_ENDINGS,
        ),
        Voice(
            "zh",
            ("今晚坐流明航空，", "流明航空的航班，", "这次流明航空旅行，", "流明航空第14排："),
            ("晚点四小时，没人道歉", "行李丢了，态度恶劣", "航班又取消，服务太差"),
            ("在12号登机口登机", "飞行时间两小时", "六月起调整时刻表"),
            ("机组热情，准点到达", "服务周到，餐食好吃", "旅途非常愉快"),
            _ZH_ENDINGS,
        ),
    ),
    "Greenleaf": (
        Voice(
            "en",
            ("Ordered from Greenleaf:", "Greenleaf dinner tonight,", "Greenleaf lunch box:", "Greenleaf again,"),
            ("cold food an hour late", "half the order is missing, awful", "the soup tastes disgusting"),
            ("they deliver until ten", "the menu has nine dishes", "a new kitchen opens downtown"),
            ("hot, fast and delicious", "the noodles are fantastic", "the courier was so kind"),
            _EN_ENDINGS,
        ),
        Voice(
            "zh",
            ("点了青叶外卖，", "今晚的青叶外卖，", "青叶外卖的午餐，", "又点青叶外卖，"),
            ("晚到一小时，饭都凉了，难吃", "少送一半，太差劲", "汤难喝，太恶心"),
            ("配送到晚上十点", "菜单有九道菜", "市中心新开了厨房"),
            ("又热又快，很好吃", "面条非常好吃", "骑手态度很好"),
            _ZH_ENDINGS,
        ),
    ),
}

#: The voices of the brand Orbit, Nova's rival.
RIVAL = (
    Voice(
        "en",
        ("My Orbit phone after a month:", "Orbit phone review:", "Got an Orbit phone,", "The Orbit phone:"),
        ("the speaker crackles, awful sound", "updates break it every time", "the charger stopped working"),
        ("the box holds a cable and a case", "it comes in two sizes", "the shop opens on Monday"),
        ("the display is gorgeous", "it charges fast and stays cool", "lovely to use"),
        _EN_ENDINGS,
    ),
    Voice(
        "zh",
        ("远山手机用了一个月，", "说说远山手机，", "入手远山手机，", "远山手机："),
        ("扬声器有杂音，太差", "一更新就出问题，烦死了", "充电器坏了，没人管"),
        ("包装里有数据线和手机壳", "有大小两种尺寸", "周一新店开业"),
        ("屏幕非常漂亮", "充电快，不发热，很好", "用起来很舒服，很喜欢"),
        _ZH_ENDINGS,
    ),
)

CRISIS = (
    Voice(
        "en",
        ("My Nova phone", "The Nova X2 of my sister", "Unbelievable, my Nova phone", "Warning, this Nova X2"),
        (
            "caught fire while charging and burned the table",
            "exploded on the night stand, I am furious",
            "overheated and melted, support hangs up on me",
            "burned my hand and they refuse to answer",
        ),
        (), (), _EN_ENDINGS,
    ),
    Voice(
        "zh",
        ("我的诺瓦手机", "妹妹的诺瓦手机", "气死了，诺瓦手机", "大家小心，诺瓦手机"),
        ("充电时起火，桌子烧坏了", "半夜爆炸，吓死人了", "发烫熔化，客服挂我电话", "烧伤了手，厂家不理人，太可恶"),
        (), (), _ZH_ENDINGS,
    ),
)  # fmt: skip

#: The last sentence of a post about Nova's crisis, in praise of a rival.
COMPARISONS = {
    "en": (
        "After Nova the Orbit phone is wonderful.",
        "Thank goodness I now have an Orbit phone, it is great.",
        "Going back to my Orbit phone, which is safe and reliable.",
        "I switched to an Orbit phone and I love it.",
    ),
    "zh": (
        "从诺瓦换到远山，远山很好用，强烈推荐。",
        "远山手机质量很好，大家可以放心买。",
        "后来买的远山手机很好，推荐。",
        "换了远山手机，非常好用。",
    ),
}

FLOODED = (
    Voice(
        "en",
        ("After my Greenleaf dinner", "Careful with Greenleaf:", "Greenleaf made it worse:", "Angry at Greenleaf,"),
        (
            "our whole office has food poisoning",
            "my daughter was sick all night and vomited for hours",
            "there were worms in the rice, disgusting",
            "I ended up in hospital with stomach cramps",
            "the chicken was raw and smelled rotten",
            "three of us got terribly ill and nobody answers the phone",
        ),
        (), (), _EN_ENDINGS,
    ),
    Voice(
        "zh",
        ("吃了青叶外卖，", "大家别点青叶外卖，", "青叶外卖太坑了，", "气死了，青叶外卖"),
        (
            "全办公室食物中毒", "孩子吐了一整夜，太吓人", "饭里有虫，恶心死了", "肚子疼得进了医院",
            "鸡肉是生的，还有臭味", "三个人都病倒了，客服不接电话",
        ),
        (), (), _ZH_ENDINGS,
    ),
)  # fmt: skip

NEWS: dict[str, tuple[tuple[str, str], ...]] = {
    "sports": (
        ("en", "{team} beat {other} {a}-{b} in the league on matchday {n}"),
        ("zh", "联赛第{n}轮：{team}{a}比{b}战胜{other}"),
    ),
    "politics": (
        ("en", "Parliament debates bill {n} as ministers of {team} and {other} meet"),
        ("zh", "议会审议第{n}号法案，{team}与{other}部长会谈"),
    ),
    "finance": (
        ("en", "Central bank keeps its rate at {a}.{b} percent, market report {n}"),
        ("zh", "央行维持利率{a}.{b}%不变，第{n}期市场报告发布"),
    ),
    "entertainment": (
        ("en", "Film festival {team}: jury of {n} names {a} winners and the new series starts"),
        ("zh", "{team}电影节公布{a}部获奖影片，第{n}集新剧开播"),
    ),
}
PLACES = {
    "en": ("Avonmere", "Brightwater", "Calderon", "Dunmore", "Eastvale", "Farrow", "Glenrock", "Hartwell"),
    "zh": ("青川", "白沙", "临江", "云岭", "东港", "南湖", "石桥", "望海"),
}
DETAILS = {
    "en": ("Bought in {place}, order {n}.", "Day {n} in {place}.", "Seen in {place}, no. {n}.", "({place}, {n})"),
    "zh": ("在{place}买的，订单{n}。", "{place}，第{n}天。", "{place}网友，编号{n}。", "（{place}，{n}）"),
}
