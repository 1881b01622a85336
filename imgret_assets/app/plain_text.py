r"""Names of files and messages as they are, in places that read some markup.

Belongs here: taking away the meaning of signs for Streamlit's Markdown and for the chart component, counts in words.
Not here: where they are shown (`app.views.search_page`); `st.text` needs none of this and is used wherever it can be.
"""

import re
import string

_PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")
_SHORTCODE = re.compile(r":(?=[\w+/\-]+(\[|:))")
# The middle of the component's mark, --x_x--0_0--, which two marks can't share.
_CODE_MARK = "x_x--0_0"
_INVISIBLE = "\u2060"


def markdown_text(text: str) -> str:
    """Markdown that shows exactly this text, on one line."""
    # An escaped :name: is still replaced by an emoji, which Streamlit looks for after the Markdown was read.
    broken = _SHORTCODE.sub(f":{_INVISIBLE}", " ".join(text.splitlines()))
    return _PUNCTUATION.sub(r"\\\1", broken)


def counted(count: int, thing: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def chart_text(text: str) -> str:
    """The text as the chart component may be given it.

    streamlit-echarts runs as JavaScript what stands between two of its marks in any string of its options, and
    a file can be called anything.
    """
    return text.replace(_CODE_MARK, _CODE_MARK[:3] + _INVISIBLE + _CODE_MARK[3:])
