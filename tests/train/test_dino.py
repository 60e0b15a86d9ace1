"""Head, loss, centre, schedules, teacher and parameter groups against twins from the formulas."""

import copy
import math

import pytest
import torch
from torch import nn

from unidino.models import vit
from unidino.train import dino


def logits(seed, rows, prototypes=12):
    return 4 * torch.randn(rows, prototypes, generator=torch.Generator().manual_seed(seed))


def softmax(row, temperature):
    exponentials = [math.exp(float(v) / temperature) for v in row]
    return [e / sum(exponentials) for e in exponentials]


@pytest.mark.parametrize("views", [2, 5, 10])
@pytest.mark.parametrize(("student_temp", "teacher_temp"), [(0.5, 0.9), (1.0, 2.0)])
def test_loss_equals_the_double_sum(views, student_temp, teacher_temp):
    batch = 3
    student, teacher = logits(0, views * batch), logits(1, 2 * batch)
    loss = dino.DINOLoss(12, student_temp)
    loss.center += torch.randn(1, 12, generator=torch.Generator().manual_seed(2))
    value, entropy = loss(student, teacher, teacher_temp)
    total, terms, entropies = 0.0, 0, []
    for i in range(2):
        for b in range(batch):
            q = softmax(teacher[i * batch + b] - loss.center[0], teacher_temp)
            entropies.append(-sum(v * math.log(v) for v in q))
            for j in range(views):
                if i != j:
                    p = softmax(student[j * batch + b], student_temp)
                    total -= sum(a * math.log(c) for a, c in zip(q, p, strict=True))
                    terms += 1
    assert value.item() == pytest.approx(total / terms, rel=1e-5)
    assert entropy.item() == pytest.approx(sum(entropies) / len(entropies), rel=1e-5)


def test_collapse_shows_in_the_loss_and_the_entropy():
    loss = dino.DINOLoss(12)
    value, entropy = loss(torch.zeros(20, 12), torch.zeros(4, 12), 0.04)
    assert value.item() == pytest.approx(math.log(12))
    assert entropy.item() == pytest.approx(math.log(12))
    _, entropy = loss(torch.zeros(20, 12), 100 * torch.eye(12)[:4], 0.04)
    assert entropy.item() == pytest.approx(0, abs=1e-6)


def test_no_gradient_reaches_the_teacher():
    teacher = logits(1, 4).requires_grad_()
    student = logits(0, 8).requires_grad_()
    dino.DINOLoss(12)(student, teacher, 0.1)[0].backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_centre_is_a_moving_average(momentum):
    loss = dino.DINOLoss(12, center_momentum=momentum)
    expected = torch.zeros(12)
    for seed in range(3):
        batch = logits(seed, 6)
        loss.update_center(batch.sum(0, keepdim=True), 6)
        expected = momentum * expected + (1 - momentum) * batch.mean(0)
    torch.testing.assert_close(loss.center[0], expected)
    assert "center" in loss.state_dict()


def test_sinkhorn_equals_the_alternating_normalisation():
    values = logits(3, 8)
    made = dino.sinkhorn_knopp(values, 0.5, iterations=3)
    q = torch.exp((values / 0.5).double()).T
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(1, keepdim=True) * q.shape[0]
        q /= q.sum(0, keepdim=True) * q.shape[1]
    torch.testing.assert_close(made.double(), (q * q.shape[1]).T, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(made.sum(1), torch.ones(8))
    many = dino.sinkhorn_knopp(values, 0.5, iterations=200)
    torch.testing.assert_close(many.sum(0), torch.full((12,), 8 / 12), rtol=1e-3, atol=1e-3)


def test_unknown_centring():
    with pytest.raises(ValueError, match="centring 'median' is not one of mean, sinkhorn"):
        dino.DINOLoss(12, centring="median")


def test_koleo_equals_the_nearest_distances():
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    unit = x / x.norm(dim=1, keepdim=True)
    total = 0.0
    for i in range(7):
        total += math.log(min(float((unit[i] - unit[j]).norm()) for j in range(7) if j != i))
    assert dino.koleo(x).item() == pytest.approx(-total / 7, rel=1e-5)


@pytest.mark.parametrize("norm_last_layer", [True, False])
@pytest.mark.parametrize("use_bn", [True, False])
def test_head_equals_the_formulas(norm_last_layer, use_bn):
    torch.manual_seed(0)
    head = dino.DINOHead(6, 12, use_bn, norm_last_layer, hidden_dim=16, bottleneck_dim=5).eval()
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    y = x
    for layer in head.mlp:
        if isinstance(layer, nn.Linear):
            y = y @ layer.weight.T + layer.bias
        elif isinstance(layer, nn.GELU):
            y = y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))
        else:
            y = (y - layer.running_mean) / (layer.running_var + layer.eps).sqrt()
    y = y / y.norm(dim=1, keepdim=True)
    g, v = head.last_layer.weight_g, head.last_layer.weight_v
    torch.testing.assert_close(head(x), y @ (g * v / v.norm(dim=1, keepdim=True)).T)
    assert g.requires_grad != norm_last_layer
    names = set(head.state_dict())
    assert {"last_layer.weight_g", "last_layer.weight_v", "mlp.0.weight"} <= names
    if not use_bn:
        assert {"mlp.0.bias", "mlp.2.weight", "mlp.4.weight"} <= names


@pytest.mark.parametrize(("warmup", "steps"), [(0, 10), (3, 10), (10, 10)])
def test_schedule_equals_the_formula(warmup, steps):
    made = dino.cosine_schedule(0.4, 0.01, steps, warmup)
    assert len(made) == steps
    for i, value in enumerate(made):
        if i < warmup:
            expected = 0.4 * i / (warmup - 1)
        else:
            turn = math.pi * (i - warmup) / (steps - warmup)
            expected = 0.01 + 0.5 * (0.4 - 0.01) * (1 + math.cos(turn))
        assert value == pytest.approx(expected)


def test_teacher_temperature_is_linear_then_constant():
    made = [dino.teacher_temperature(e, 0.01, 0.04, 4) for e in range(6)]
    assert made == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.04, 0.04])


def test_teacher_follows_the_student():
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1.0)
    student[1].running_mean.fill_(7)
    before = [p.clone() for p in teacher.parameters()]
    dino.update_teacher(student, teacher, 0.9)
    for old, own, other in zip(before, teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(own, 0.9 * old + 0.1 * other)
        assert own is not other
    assert (teacher[1].running_mean == 7).all()


def test_weight_decay_spares_biases_and_norms():
    model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", size=32))
    decayed, free = dino.parameter_groups(model)
    assert free["weight_decay"] == 0
    names = {id(p): name for name, p in model.named_parameters()}
    for parameter in free["params"]:
        assert names[id(parameter)].endswith(".bias") or parameter.ndim == 1
    for parameter in decayed["params"]:
        assert not names[id(parameter)].endswith(".bias")
        assert parameter.ndim > 1
    assert len(names) == len(decayed["params"]) + len(free["params"])


def test_clipping_clips_each_parameter():
    layers = [
        nn.Parameter(torch.zeros(4)),
        nn.Parameter(torch.zeros(4)),
        nn.Parameter(torch.zeros(4)),
    ]
    layers[0].grad, layers[1].grad = torch.full((4,), 5.0), torch.full((4,), 0.1)
    norms = dino.clip_gradients(layers, 3.0)
    torch.testing.assert_close(norms, torch.tensor([10.0, 0.2]))
    assert layers[0].grad.norm().item() == pytest.approx(3, rel=1e-4)
    torch.testing.assert_close(layers[1].grad, torch.full((4,), 0.1))


def test_views_of_several_sizes_stay_in_order():
    torch.manual_seed(0)
    backbone = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", size=64)).eval()
    network = dino.MultiCropNetwork(backbone, dino.DINOHead(192, 12, hidden_dim=8)).eval()
    large, small = torch.rand(4, 1, 64, 64), torch.rand(6, 1, 32, 32)
    with torch.inference_mode():
        made, embeddings, predicted = network([large, small])
        assert predicted is None
        for i in range(4):
            torch.testing.assert_close(
                embeddings[i], backbone(large[i : i + 1])[0], atol=1e-5, rtol=1e-5
            )
        torch.testing.assert_close(made[4:], network.head(backbone(small)), atol=1e-5, rtol=1e-5)
    published = {"backbone.backbone.cls_token", "head.last_layer.weight_g"}
    assert published <= set(network.state_dict())


@pytest.mark.parametrize("rank", [1, 4])
def test_effective_rank_of_known_spectra(rank):
    basis = torch.linalg.qr(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)))[0]
    x = basis[:, :rank] @ torch.eye(rank, 8)
    x = torch.cat([x, -x])
    assert dino.effective_rank(x).item() == pytest.approx(rank, rel=1e-3)
    assert dino.effective_rank(torch.ones(9, 4)).item() == pytest.approx(1)
