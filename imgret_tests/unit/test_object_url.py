"""Addresses of objects, and image roots that are some."""

from pathlib import Path

import pytest

from imgret_assets.errors import SettingError
from imgret_assets.image_roots import ImageRoots
from imgret_assets.object_url import ObjectUrl, image_file_at, is_url


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://pics", "pics", ""),
        ("s3://pics/", "pics", ""),
        ("gs://pics/a/b/", "pics", "a/b"),
        ("az://pics/a b+ü=%25;c=/d", "pics", "a b+ü=%25;c=/d"),
        ("s3:/pics/a.jpg", "pics", "a.jpg"),  # as pathlib writes it
    ],
)
def test_an_address_has_a_bucket_and_a_key(text: str, bucket: str, key: str) -> None:
    assert is_url(text)
    url = ObjectUrl.parse(text, "IMGRET_IMAGES")
    assert (url.bucket, url.key) == (bucket, key)
    assert ObjectUrl.parse(str(url), "IMGRET_IMAGES") == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://", "IMGRET_IMAGES has '' in place"),
        ("s3://id:secret@pics/a", "has a login in place of a bucket's name.*AWS_ACCESS_KEY_ID"),
        ("s3://pics/a//b", "an empty part"),
        ("s3://pics/../b", "an empty part, `.` or `..`"),
        ("photos=s3://id:secret@pics/a", "has a login"),
        ("https://pics/a", "IMGRET_IMAGES begins with https://.*s3://, gs://, az://.*AWS_ENDPOINT_URL"),
        ("photos=/mnt/a;photos=s3://pics", "names two roots 'photos'"),
    ],
)
def test_what_is_no_address_is_refused_without_a_secret(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as raised:
        ImageRoots.parse(text)
    assert "secret" not in str(raised.value)


def test_a_bucket_stands_beside_a_folder() -> None:
    roots = ImageRoots.parse("photos=s3://pics/2024;archive=/mnt/a")
    assert roots.folders == (("archive", Path("/mnt/a")), ("photos", ObjectUrl("s3", "pics", "2024")))
    assert ImageRoots.parse(str(roots)) == roots
    assert str(roots / "photos/x/y.jpg") == "s3://pics/2024/x/y.jpg"
    assert roots / "archive/x.jpg" == Path("/mnt/a/x.jpg")
    assert roots.path_of(image_file_at("s3://pics/2024/x/y.jpg")) == "photos/x/y.jpg"
    assert roots.path_of(image_file_at("s3://pics/2024x/y.jpg")) is None
    assert roots.path_of("/mnt/a/x.jpg") == "archive/x.jpg"
    with pytest.raises(ValueError, match="is no file of this machine"):
        roots.local("photos/x/y.jpg")


@pytest.mark.parametrize("inner", ["s3://pics/2024", "s3://pics/2024/may"])
def test_one_prefix_in_another_is_refused(inner: str) -> None:
    with pytest.raises(SettingError, match=r"The image root a .* (is the same folder as|lies in) the image root b"):
        ImageRoots.parse(f"a={inner};b=s3://pics/2024").check_apart()


def test_prefixes_with_a_common_beginning_and_other_stores_are_apart() -> None:
    ImageRoots.parse("a=s3://pics/2024;b=s3://pics/20245;c=gs://pics/2024;d=/pics/2024").check_apart()
