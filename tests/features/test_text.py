"""A text's script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.features.text import TEXT_SCHEMA, script_of


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Profit rose 12%", "LATIN"),
        ("Größere Nachfrage in Œuvre-Qualität", "LATIN"),
        ("Lợi nhuận tăng mạnh", "LATIN"),
        ("Прибыль выросла", "CYRILLIC"),
        ("κέρδη", "GREEK"),
        ("利润上升", "CJK"),
        ("ひらがな", "HIRAGANA"),
        ("이익 증가", "HANGUL"),
        ("ارتفعت الأرباح", "ARABIC"),
        ("הרווח עלה", "HEBREW"),
        ("मुनाफा बढ़ा", "DEVANAGARI"),
        ("", None),
        ("12.5% - 3,000!", None),
        ("🚀🚀🚀 €", None),
    ],
)
def test_a_texts_script_is_that_of_its_letters(text: str, script: str | None) -> None:
    assert script_of(text) == script


def test_the_most_letters_decide() -> None:
    assert script_of("Завод AB выросла") == "CYRILLIC"
    assert script_of("The Завод group raises its outlook, €3 bn 🚀") == "LATIN"


def test_of_a_long_text_the_beginning_decides() -> None:
    assert script_of("й" * 1000 + "a" * 10_000) == "CYRILLIC"


@given(st.text())
def test_any_text_has_a_script_or_no_letters(text: str) -> None:
    assert (script_of(text) is None) == (not any(map(str.isalpha, text)))


@given(st.text(st.characters(max_codepoint=0x24F)))
def test_accents_do_not_leave_the_script(text: str) -> None:
    """But for the three signs that are letters by Unicode's tables and named after what they mean."""
    assert script_of(text.translate(dict.fromkeys(map(ord, "µªº")))) in ("LATIN", None)


def test_the_schema_is_one_text_a_row() -> None:
    assert TEXT_SCHEMA.dtype == "string"
    assert [column.name for column in TEXT_SCHEMA.columns] == ["text"]
