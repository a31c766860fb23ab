"""Invented brand names, for targets in training that stand for any brand."""

from __future__ import annotations

LATIN = (
    "Aldera", "Arvento", "Belmora", "Brightwell", "Calix", "Cedarline", "Corvane", "Dalton & Rye", "Delvio",
    "Ekholm", "Elowen", "Fenwick", "Firelark", "Fjordis", "Galvion", "Grenmark", "Halcyon", "Hexley", "Inverra",
    "Jorvik Air", "Jubilo", "Kavita", "Kinsley's", "Kolibri", "Lanternfish", "Lumeo", "Marlowe",
    "Meridian Bank", "Mistral", "Nimbus", "Nordlys", "Oakhurst", "Orbita", "Oxbridge Foods", "Pallas",
    "Pinecrest", "Quillon", "Quovia", "Ravenna", "Rowanberry", "Sablefin", "Solenne", "Sundial", "Tamsin",
    "Telluria", "Thornbury", "Umbra", "Valdoro", "Veltra", "Vireo", "Waverly", "Westmark", "Xandros", "Yarrow",
    "Zephyra", "Zolt", "ArcFive", "G-Tech", "Mobi7", "TK Motors",
)  # fmt: skip
HAN = (
    "星澜", "云帆", "海棠科技", "北斗优选", "青禾", "极光", "飞鹭", "锦程", "蓝鲸", "嘉禾", "安途", "百川",
    "辰星", "鼎峰", "东篱", "风语", "光年", "瀚海", "恒悦", "华韵", "即刻达", "金穗", "乐淘淘", "凌云", "麦浪",
    "明途", "木槿", "暖阳", "朋来", "启明", "千寻", "青鸟出行", "如意家", "森野", "山海", "尚品居", "速鸟",
    "天际", "万象", "微光", "西塔", "晓峰", "新月", "雪松", "雅途", "易行", "银杏", "优米", "悦达", "云杉",
    "智行", "众鑫", "紫荆", "小橙", "豆芽", "蜂鸟", "大熊", "白泽", "鲲鹏",
)  # fmt: skip
