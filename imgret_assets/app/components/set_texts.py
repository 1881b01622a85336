"""What a set of files to decide about is called and described by, in words.

Belongs here: texts about sets and their files, without markup. Not here: how they are drawn
(`app.views.duplicates_page`, `app.components.triage`), which sets are left (`domain.review.queue`).
"""

from imgret_assets.app.components.thumbnails import readable_bytes
from imgret_assets.domain.duplicates.duplicate_search import EXACT, LOOK_FIRST, LOOK_KINDS, MIRRORED, NEAR, ROTATED
from imgret_assets.domain.review.queue import ReviewQueue
from imgret_assets.domain.review.review_sets import SIMILAR, Member, ReviewSet
from imgret_assets.wording import counted, score_text

# All kinds of sets in the order of the page, each with what it contains.
KIND_HELP = {
    EXACT: "Files with the same bytes, largest first.",
    NEAR: "The same image saved again, made smaller, slightly cropped or made brighter; most alike first.",
    LOOK_FIRST: "Two images of one scene that differ in one place, or one of them has no colour: no duplicates. "
    "Compare them before you decide; nothing is proposed.",
    MIRRORED: "Mirrored copies: the same picture, seen in a mirror; it may be meant so. Nothing is proposed.",
    ROTATED: "Copies that are rotated by quarter turns, as by a program that lost the camera's orientation. "
    "Nothing is proposed: keep the one that is upright.",
    SIMILAR: "Two images with a score above the graph's threshold that are not duplicates.",
}


def kind_name(kind: str) -> str:
    """Return the name of a kind for readers."""
    return kind.replace("_", " ")


def set_key(review_set: ReviewSet) -> str:
    """Return a text that no other undecided set has."""
    return f"{review_set.kind}-{review_set.keep.path}-{review_set.other_members[0].path}"


def what_is_left(queue: ReviewQueue) -> str:
    """Return of which kinds there are sets to decide about, or when there will be."""
    counts = queue.all_counts
    others = [f"{kind_name(kind)} {counts[kind]:,}" for kind in KIND_HELP if counts[kind]]
    if not others:
        return "New duplicates appear here after the next `imgret run`."
    return f"Still to decide: {', '.join(others)}."


def set_facts(review_set: ReviewSet) -> list[str]:
    """Return the number of files, what is not needed, and the lowest score."""
    facts = [f"{len(review_set.members):,} files"]
    if review_set.proposed_bytes:
        facts.append(f"{readable_bytes(review_set.proposed_bytes)} not needed")
    if review_set.weakest_cosine is not None and review_set.kind != EXACT:
        facts.append(f"lowest score {score_text(review_set.weakest_cosine)}")
    return facts


def set_reason(review_set: ReviewSet) -> str:
    """Return why the first file is the one to keep; of a pair to look at, what the two differ by."""
    is_pair = review_set.kind in LOOK_KINDS or review_set.kind == SIMILAR
    return review_set.reason if is_pair else f"keep the first: {review_set.reason}"


def file_badges(review_set: ReviewSet, member: Member) -> list[tuple[str, str]]:
    """Return what is proposed and known about a file, each with the name of its colour."""
    badges = []
    # Of two images to look at, neither is the one to keep.
    if member is review_set.keep and review_set.kind not in LOOK_KINDS:
        badges.append(("green", "keep"))
    elif member.proposed:
        badges.append(("orange", "not needed"))
    if member.kind is not None:
        badges.append(("gray", kind_name(member.kind)))
    if member.protected:
        badges.append(("blue", "protected"))
    if member.kept:
        badges.append(("violet", "decided: no duplicate"))
    if member.removal is not None:
        badges.append(("orange", "decided: not needed"))
    return badges


def file_facts(member: Member) -> str:
    """Return a file's sizes, and how close it is to the first file."""
    parts = [f"{member.width:,} × {member.height:,} px", readable_bytes(member.bytes)]
    if member.cosine is not None and member.kind != EXACT:
        parts.append(f"score {score_text(member.cosine)}")
    if member.distance:
        parts.append(f"{member.distance} of 256 bits differ")
    return " · ".join(parts)


def describe_proposal(review_set: ReviewSet) -> str:
    """Return what accepting the proposal decides."""
    proposed = sum(member.proposed for member in review_set.members)
    return f"{review_set.keep.path} is kept, {proposed:,} not needed"


def describe_keep_all(review_set: ReviewSet) -> str:
    """Return what keeping all files decides."""
    return f"{review_set.keep.path} and others: all {len(review_set.members):,} files kept"


def describe_selection(review_set: ReviewSet, count: int) -> str:
    """Return what keeping `count` selected files decides."""
    return f"{counted(count, 'file')} of {review_set.keep.path}'s set kept"
