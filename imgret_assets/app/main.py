"""The script Streamlit runs for every view: the pages, and which of them is shown.

Belongs here: the list of pages. Not here: what they show (`app.*_page`). Streamlit puts this folder on the module
path, so no file in it may bear the name of somebody else's module.
"""

from pathlib import Path

import streamlit as st
from PIL import Image

from imgret_assets.app import navigation
from imgret_assets.app.navigation import PageSpec, choose_page
from imgret_assets.app.views.compare_page import show_compare
from imgret_assets.app.views.duplicates_page import show_duplicates
from imgret_assets.app.views.graph_page import show_graph
from imgret_assets.app.views.groups_page import show_groups
from imgret_assets.app.views.overview_page import show_overview
from imgret_assets.app.views.review_page import show_review
from imgret_assets.app.views.search_page import show_search

# An icon of our own: a page's Material icon would be fetched from the internet for the browser's tab.
st.set_page_config(page_title="imgret", page_icon=Image.open(Path(__file__).with_name("icon.png")), layout="wide")
choose_page(
    [
        PageSpec(navigation.SEARCH, "Search", "image_search", show_search),
        PageSpec(navigation.DUPLICATES, "Duplicates", "content_copy", show_duplicates),
        PageSpec(navigation.GROUPS, "Groups", "grid_view", show_groups),
        PageSpec(navigation.GRAPH, "Graph", "hub", show_graph),
        PageSpec(navigation.COMPARE, "Compare", "compare", show_compare),
        PageSpec(navigation.REVIEW, "Review", "fact_check", show_review),
        PageSpec(navigation.OVERVIEW, "Overview", "monitoring", show_overview),
    ]
)
