"""File names and messages as plain text in places that interpret markup.

Belongs here: escaping for Streamlit's Markdown and for the chart component. Not here: where they are shown
(`app.views`), counts (`wording`); `st.text` needs no escaping and is used wherever possible.
"""

import re
import string

_PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")
_SHORTCODE = re.compile(r":(?=[\w+/\-]+(\[|:))")
# The middle of the chart component's mark, --x_x--0_0--, which two marks can't share.
_CODE_MARK = "x_x--0_0"
_INVISIBLE = "\u2060"


def markdown_text(text: str) -> str:
    """Return Markdown that shows exactly this text, on one line."""
    # Streamlit replaces shortcodes such as :name: after it has interpreted the Markdown, escaped or not.
    without_shortcodes = _SHORTCODE.sub(f":{_INVISIBLE}", " ".join(text.splitlines()))
    return _PUNCTUATION.sub(r"\\\1", without_shortcodes)


def chart_text(text: str) -> str:
    """Return the text without what the chart component would run as code.

    streamlit-echarts runs the text between two of its marks in any string of its options as JavaScript, and a file can
    have any name.
    """
    return text.replace(_CODE_MARK, _CODE_MARK[:3] + _INVISIBLE + _CODE_MARK[3:])
