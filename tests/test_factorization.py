"""SeFa against closed forms: A^T A of matrices whose eigenvectors are known beforehand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sefa
from sefa import UserError, factorize, format_layers, generators, parse_layers
from sefa.factorization import factorize_weights
from tests.helpers import is_one_sentence, tiny_state_dict


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_orthonormal(vectors):
    identity = torch.eye(len(vectors), dtype=torch.float64)
    torch.testing.assert_close(vectors @ vectors.T, identity, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def generator():
    return generators.build(tiny_state_dict(), {"family": "stylegan2"})


# --------------------------------------------------------------------------------- eigenvectors


def test_two_rows_at_an_angle():
    # Unit rows with dot product cos t: eigenvalues 1 +- cos t, along the bisectors of the angle.
    t = 0.7
    a = torch.tensor([[3.0, 0.0], [5 * math.cos(t), 5 * math.sin(t)]], dtype=torch.float64)
    vectors, eigenvalues = factorize_weights([a])
    expected = torch.tensor([1 + math.cos(t), 1 - math.cos(t)], dtype=torch.float64)
    torch.testing.assert_close(eigenvalues, expected, rtol=0, atol=1e-14)
    half = [[math.cos(t / 2), math.sin(t / 2)], [-math.sin(t / 2), math.cos(t / 2)]]
    torch.testing.assert_close(vectors, torch.tensor(half).double(), rtol=0, atol=1e-7)


def test_scaled_axes_have_eigenvalue_one_each():
    # A = diag(s): every row becomes a unit row, so the singular values s play no part.
    _, eigenvalues = factorize_weights([torch.diag(torch.tensor([1e-3, 7.0, -40.0, 0.5]))])
    torch.testing.assert_close(eigenvalues, torch.ones(4).double())


def test_repeated_rows_are_counted():
    # m copies of the axis e_i (whatever their lengths and signs) give A^T A = diag(m).
    rows = torch.eye(4)[[2, 0, 2, 2, 0, 3]] * torch.tensor([1.0, 2, -3, 4, 5, -6])[:, None]
    vectors, eigenvalues = factorize_weights([rows])
    assert eigenvalues.tolist() == [3.0, 2.0, 1.0, 0.0]
    assert torch.equal(vectors, torch.eye(4, dtype=torch.float64)[[2, 0, 3, 1]])


def test_equiangular_rows():
    # n unit rows with dot product r: A A^T = (1-r) I + r 11^T has the eigenvalues 1 + (n-1) r,
    # along the sum of the rows, and 1 - r, n-1 times.
    n, r = 5, 0.4
    gram = (1 - r) * torch.eye(n, dtype=torch.float64) + r
    a = torch.linalg.cholesky(gram)
    vectors, eigenvalues = factorize_weights([a])
    expected = torch.tensor([1 + (n - 1) * r] + [1 - r] * (n - 1), dtype=torch.float64)
    torch.testing.assert_close(eigenvalues, expected)
    total = a.sum(dim=0)
    torch.testing.assert_close(vectors[0].dot(total / total.norm()).abs().item(), 1.0)


def test_orthonormal_rows_and_fewer_rows_than_columns():
    # Q Q^T = I: eigenvalue 1 for each of the 3 rows, 0 for the 5 other directions, never below.
    q = torch.linalg.qr(randn(8, 3).double()).Q.T
    vectors, eigenvalues = factorize_weights([q])
    expected = torch.tensor([1.0] * 3 + [0.0] * 5, dtype=torch.float64)
    torch.testing.assert_close(eigenvalues, expected, rtol=0, atol=1e-14)
    assert eigenvalues.min() >= 0
    torch.testing.assert_close((q @ vectors[3:].T).abs().max().item(), 0.0, rtol=0, atol=1e-12)
    assert_orthonormal(vectors)


def test_eigenvectors_of_a_random_stack():
    weights = [randn(20, 8, seed=1), randn(9, 8, seed=2), randn(1, 8, seed=3)]
    vectors, eigenvalues = factorize_weights(weights)
    rows = torch.cat(weights).double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    # (A^T A) n = lambda n, and the sum of all lambda is the trace: one for each unit row.
    product = vectors @ (rows.T @ rows)
    torch.testing.assert_close(product, eigenvalues[:, None] * vectors, rtol=0, atol=1e-12)
    torch.testing.assert_close(eigenvalues.sum().item(), 30.0)
    assert_orthonormal(vectors)
    assert (eigenvalues.diff() <= 0).all()
    assert vectors.dtype == eigenvalues.dtype == torch.float64


def test_the_largest_component_is_positive():
    vectors, _ = factorize_weights([randn(40, 16)])
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    assert (largest > 0).all()


def test_positive_and_negative_row_scales_change_nothing():
    a = randn(30, 6).double()
    scales = (
        torch.logspace(-6, 6, 30).double()[:, None] * torch.tensor([1.0, -1.0]).repeat(15)[:, None]
    )
    for found, expected in zip(factorize_weights([a * scales]), factorize_weights([a])):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_zero_rows_are_dropped():
    # The official code divides 0 by 0 there, and every direction becomes NaN.
    a = randn(10, 4)
    with_zeros = torch.cat([a[:3], torch.zeros(2, 4), a[3:]])
    vectors, eigenvalues = factorize_weights([with_zeros])
    expected_vectors, expected_eigenvalues = factorize_weights([a])
    torch.testing.assert_close(vectors, expected_vectors, rtol=0, atol=1e-12)
    torch.testing.assert_close(eigenvalues, expected_eigenvalues)
    torch.testing.assert_close(eigenvalues.sum().item(), 10.0)


def test_all_zero_weights_give_some_orthonormal_basis():
    vectors, eigenvalues = factorize_weights([torch.zeros(3, 5)])
    assert eigenvalues.tolist() == [0.0] * 5
    assert_orthonormal(vectors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_is_factorised_in_float64(dtype):
    # Values that fit every type exactly, one of them near the top of float16 (squares overflow).
    a = torch.tensor([[3.0, 4.0], [60000.0, 0.0]]).to(torch.float16).to(dtype)
    _, eigenvalues = factorize_weights([a])
    expected = torch.tensor([1.6, 0.4], dtype=torch.float64)  # 1 +- 3/5
    torch.testing.assert_close(eigenvalues, expected, rtol=0, atol=1e-14)


# ----------------------------------------------------------------------------------- generators


def test_factorize_stacks_the_affines_of_the_chosen_layers(generator):
    state = tiny_state_dict()
    affines = [state[f"synthesis.conv{i}.affine.weight"] for i in range(5)]
    affines.append(state["synthesis.to_rgb2.affine.weight"])  # the last index: only the last toRGB
    for layers, indices in [("all", range(6)), ("1-2,5", [1, 2, 5]), ([4], [4])]:
        found = factorize(generator, layers)
        vectors, eigenvalues = factorize_weights([affines[i] for i in indices])
        assert found.layers == list(indices)
        given = eigenvalues > 1e-3  # fewer rows than columns leave the other directions open
        torch.testing.assert_close(found.vectors[given], vectors[given], rtol=0, atol=1e-5)
        torch.testing.assert_close(found.eigenvalues, eigenvalues, rtol=1e-6, atol=1e-6)
        rows = sum(len(affines[i]) for i in indices)
        torch.testing.assert_close(found.eigenvalues.sum().item(), float(rows))


def test_factorize_leaves_the_thread_count_alone(generator, monkeypatch):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        factorize(generator)
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            factorize(generator)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_factorize_twice_is_identical(generator):
    first, second = factorize(generator, "0-2"), factorize(generator, [2, 0, 1])
    assert torch.equal(first.vectors, second.vectors)
    assert torch.equal(first.eigenvalues, second.eigenvalues)


# --------------------------------------------------------------------------------------- layers


@pytest.mark.parametrize(
    "layers, expected",
    [
        ("all", list(range(10))),
        (" ALL ", list(range(10))),
        ("0-1,4", [0, 1, 4]),
        (" 0 - 1 , 4 ", [0, 1, 4]),
        ("4,0-1,1,4-4", [0, 1, 4]),
        ("9", [9]),
        ("007", [7]),
        ([4, 1, 0, 1], [0, 1, 4]),
        ((3,), [3]),
        ({2, 5}, [2, 5]),
        (range(2, 6), [2, 3, 4, 5]),
        (iter([1, 2]), [1, 2]),
        (np.array([4, 2]), [2, 4]),
        ([np.int64(3), np.uint8(1)], [1, 3]),
        (torch.tensor([6, 5]), [5, 6]),
        (np.str_("2-3"), [2, 3]),
    ],
)  # fmt: skip
def test_layer_selections(layers, expected):
    found = parse_layers(layers, 10)
    assert found == expected
    assert all(type(index) is int for index in found)


BAD_LAYERS = [
    "", " ", ",", "0,", "abc", "All layers", "5-2", "-1", "0-", "-", "1--2", "0-1-2", "1.5", "1e9",
    "0-99", "10", "99999", "0-9999999999", "0;1", "0 1", "²", "１", "٣", "0\n1", "0x1", "None",
    "0," * 5000, "all,0", "'", '"', "<script>", "\0",
    [], (), [1.5], [True], ["0"], [None], [10], [-1], [0, 10**5000], [-(10**5000)], None, 3, 1.5,
    torch.tensor([1.5]), np.array([0.5]), np.array([[0, 1], [2, 3]]), np.array([True]), b"01",
    {"a": 1}, [[0]], [float("nan")],
]  # fmt: skip


@pytest.mark.parametrize("layers", BAD_LAYERS, ids=range(len(BAD_LAYERS)))
def test_bad_layer_selections_name_the_valid_range(layers):
    with pytest.raises(UserError) as error:
        parse_layers(layers, 10)
    assert "layers are 0 to 9" in str(error.value)
    assert is_one_sentence(str(error.value))


def test_a_model_of_one_layer():
    assert parse_layers("all", 1) == [0]
    with pytest.raises(UserError, match="the only layer is 0"):
        parse_layers("1", 1)


def test_factorize_refuses_layers_the_generator_lacks(generator):
    with pytest.raises(UserError, match="no layer 6; layers are 0 to 5"):
        factorize(generator, "0-6")


@pytest.mark.parametrize(
    "layers, text",
    [([0], "0"), ([0, 1, 4], "0-1,4"), ([4, 1, 0, 1], "0-1,4"), (range(10), "0-9"), ([], "")],
)
def test_format_layers(layers, text):
    assert format_layers(layers) == text


@given(st.sets(st.integers(0, 63), min_size=1))
def test_what_format_layers_writes_parse_layers_reads(indices):
    assert parse_layers(format_layers(indices), 64) == sorted(indices)


@given(st.one_of(st.text(), st.text("0123456789-, al"), st.lists(st.integers(-3, 12))))
def test_any_selection_is_read_or_refused(layers):
    try:
        found = parse_layers(layers, 10)
    except UserError as error:
        assert is_one_sentence(str(error))
    else:
        assert found == sorted(set(found)) and set(found) <= set(range(10)) and found


# ----------------------------------------------------------------------------------------- edit


def test_an_edit_moves_y_by_alpha_A_n_whatever_w_is(generator):
    # y = A w + b, so y(w + alpha n) - y(w) = alpha A n: the equation the method rests on.
    direction = factorize(generator, [3]).vectors[2]
    a = generator.layer_weights([3])[0].double()
    w = randn(4, 6, 12).double() * 10
    edited = sefa.edit(w, direction, -2.5, [3])
    moved = edited[:, 3] @ a.T - w[:, 3] @ a.T
    torch.testing.assert_close(moved, (-2.5 * a @ direction).expand(4, -1), rtol=0, atol=1e-12)


def test_an_edit_touches_only_the_chosen_layers():
    w = randn(2, 6, 12)
    before = w.clone()
    n = torch.zeros(12, dtype=torch.float64)
    n[7] = 1.0
    edited = sefa.edit(w, n, 3.0, "1,4-5")
    assert torch.equal(w, before)  # w itself stays
    difference = edited - w
    assert torch.equal(edited[:, [0, 2, 3]], w[:, [0, 2, 3]])
    expected = torch.zeros(2, 3, 12)
    expected[:, :, 7] = 3.0
    torch.testing.assert_close(difference[:, [1, 4, 5]], expected, rtol=0, atol=1e-6)
    assert edited.dtype == w.dtype


def test_an_edit_by_zero_is_a_new_equal_tensor():
    w = randn(1, 6, 12)
    edited = sefa.edit(w, torch.ones(12), 0.0, "all")
    assert torch.equal(edited, w) and edited.data_ptr() != w.data_ptr()


@pytest.mark.parametrize(
    "w_shape, n_shape", [((2, 12), (12,)), ((2, 6, 12), (11,)), ((2, 6, 12), (1, 12)), ((12,), ())]
)
def test_an_edit_of_the_wrong_shape_is_refused(w_shape, n_shape):
    with pytest.raises(UserError, match="needs w") as error:
        sefa.edit(torch.zeros(w_shape), torch.zeros(n_shape), 1.0, [0])
    assert is_one_sentence(str(error.value))


@pytest.mark.parametrize("layers", [[6], "", [], "0-6", [-1]])
def test_an_edit_of_layers_w_lacks_is_refused(layers):
    with pytest.raises(UserError, match="layers are 0 to 5"):
        sefa.edit(torch.zeros(1, 6, 12), torch.zeros(12), 1.0, layers)
