"""The script that Streamlit runs for every view.

Belongs here: the browser's title and icon. Not here: the pages (`app.page_list`), how many views are made at a time
(`app.turns`), the process's memory (`app.process_memory`). Streamlit puts this folder on the module path, so no file in
it may have the name of another installed module.
"""

from pathlib import Path

import streamlit as st
from PIL import Image

from imgret_assets.app import turns
from imgret_assets.app.components.accessibility import add_accessibility
from imgret_assets.app.components.page_keys import add_styles
from imgret_assets.app.navigation import run_page
from imgret_assets.app.page_list import PAGES
from imgret_assets.app.process_memory import settle_memory

# An icon file of our own: the browser would fetch a page's Material icon for its tab from the internet.
st.set_page_config(page_title="imgret", page_icon=Image.open(Path(__file__).with_name("icon.png")), layout="wide")
with turns.views.turn():
    add_styles()
    add_accessibility()
    run_page(PAGES)
settle_memory()
