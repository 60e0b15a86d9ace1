"""Self-distillation without labels: head, loss, centring, schedules, teacher.

Source: Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers
(arXiv:2104.14294), sections 3.1 and 5; the symbols are the paper's.
"""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from ..choices import CENTRINGS


def world_size():
    """Processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(tensor):
    """The sum of `tensor` over all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


class WeightNormLinear(nn.Module):
    """Linear layer without bias whose rows are direction times length.

    The names ``weight_g`` (out, 1) and ``weight_v`` (out, in) are those of the published
    checkpoints; `norm_last_layer` fixes the lengths at 1.
    """

    def __init__(self, in_features, out_features, fixed_length):
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(out_features, 1), requires_grad=not fixed_length)
        bound = in_features**-0.5
        self.weight_v = nn.Parameter(torch.empty(out_features, in_features).uniform_(-bound, bound))

    def forward(self, x):
        return F.linear(x, self.weight_g * F.normalize(self.weight_v, dim=1))


class DINOHead(nn.Module):
    """Projection head: an MLP to a bottleneck on the unit sphere, then K prototypes.

    Parameters
    ----------
    in_dim : int
        D, width of the embedding.
    out_dim : int
        K, number of prototypes (published: 20000).
    use_bn : bool
        Batch normalisation after the hidden layers.
    norm_last_layer : bool
        Prototypes of unit length.
    hidden_dim, bottleneck_dim : int
    """

    def __init__(
        self,
        in_dim,
        out_dim=20000,
        use_bn=False,
        norm_last_layer=True,
        hidden_dim=2048,
        bottleneck_dim=256,
    ):
        super().__init__()
        layers = []
        for width_in in (in_dim, hidden_dim):
            layers.append(nn.Linear(width_in, hidden_dim))
            if use_bn:
                layers.append(nn.BatchNorm1d(hidden_dim))
            layers.append(nn.GELU())
        layers.append(nn.Linear(hidden_dim, bottleneck_dim))
        self.mlp = nn.Sequential(*layers)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = WeightNormLinear(bottleneck_dim, out_dim, fixed_length=norm_last_layer)

    def forward(self, x):
        """Logits (B, K) of embeddings (B, D)."""
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))


class MultiCropNetwork(nn.Module):
    """Backbone and head over views of several sizes: one forward pass of the backbone a size.

    The submodules are named as in the published checkpoints.

    Parameters
    ----------
    backbone : EmbeddingModel
    head : DINOHead or None
        None leaves self-distillation out.
    reproduction : distil.Reproduction, optional
        What distillation predicts from the views of the first size.
    """

    def __init__(self, backbone, head, reproduction=None):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.reproduction = reproduction

    def forward(self, views):
        """Logits and embeddings of all views, view by view.

        Parameters
        ----------
        views : list of torch.Tensor
            (V x B, C, H, W) each, a tensor holding all views of one size.

        Returns
        -------
        logits : torch.Tensor or None
            (views x B, K).
        embeddings : torch.Tensor
            (views x B, D).
        predicted : tuple or None
            Of the first tensor of views, see `distil.Reproduction`.
        """
        if self.reproduction is None:
            made, predicted = [self.backbone(view) for view in views], None
        else:
            first, grid = self.backbone.embedding_and_grid(views[0])
            predicted = self.reproduction(first, grid)
            made = [first, *(self.backbone(view) for view in views[1:])]
        embeddings = torch.cat(made)
        return None if self.head is None else self.head(embeddings), embeddings, predicted


def sinkhorn_knopp(logits, temperature, iterations=3):
    """Teacher assignments that use all prototypes equally.

    Parameters
    ----------
    logits : torch.Tensor
        (B, K) of this process; the batch of all processes is normalised together.
    temperature : float
    iterations : int

    Returns
    -------
    torch.Tensor
        (B, K), rows sum to 1.

    Source: Caron et al. 2020 (SwAV, arXiv:2006.09882), algorithm 1; as DINOv2 uses it
    (arXiv:2304.07193, section 4).
    """
    scaled = logits.float() / temperature
    # The largest logit of all processes keeps the exponential finite without changing the result.
    top = scaled.max()
    if world_size() > 1:
        dist.all_reduce(top, dist.ReduceOp.MAX)
    q = torch.exp(scaled - top)
    batch = logits.shape[0] * world_size()
    prototypes = logits.shape[1]
    tiny = torch.finfo(q.dtype).tiny
    for _ in range(iterations):
        q = q / sum_over_processes(q.sum(0, keepdim=True)).clamp_min(tiny) / prototypes
        q = q / q.sum(1, keepdim=True).clamp_min(tiny) / batch
    return q * batch


class DINOLoss(nn.Module):
    """Cross-entropy between the teacher's and the student's assignments of different views.

    Parameters
    ----------
    out_dim : int
        K.
    student_temp : float
    center_momentum : float
        m of the centre's moving average (paper, equation 4).
    centring : {"mean", "sinkhorn"}

    Attributes
    ----------
    center : torch.Tensor
        (1, K), part of the state dict.
    """

    def __init__(self, out_dim, student_temp=0.1, center_momentum=0.9, centring="mean"):
        super().__init__()
        if centring not in CENTRINGS:
            raise ValueError(f"centring {centring!r} is not one of {', '.join(CENTRINGS)}.")
        self.student_temp = student_temp
        self.center_momentum = center_momentum
        self.centring = centring
        self.register_buffer("center", torch.zeros(1, out_dim))

    @torch.no_grad()
    def assignments(self, teacher_logits, teacher_temp):
        """The teacher's distribution over prototypes, (global views x B, K)."""
        if self.centring == "sinkhorn":
            return sinkhorn_knopp(teacher_logits, teacher_temp)
        return F.softmax((teacher_logits.float() - self.center) / teacher_temp, dim=-1)

    def forward(self, student_logits, teacher_logits, teacher_temp, global_views=2):
        """Mean over all pairs of a teacher's view and another student's view.

        Parameters
        ----------
        student_logits : torch.Tensor
            (V x B, K), view by view, the global views first.
        teacher_logits : torch.Tensor
            (global_views x B, K).
        teacher_temp : float

        Returns
        -------
        loss : torch.Tensor
        entropy : torch.Tensor
            Mean entropy of the teacher's assignments, 0 to ln K; both ends are collapse.
        """
        q = self.assignments(teacher_logits, teacher_temp)
        entropy = -torch.xlogy(q, q).sum(-1).mean()
        log_p = F.log_softmax(student_logits.float() / self.student_temp, dim=-1)
        rows, prototypes = teacher_logits.shape
        images = rows // global_views
        # Pairs with the same student's view share its part, so that its teachers are summed.
        large, small = log_p.split([rows, len(log_p) - rows])
        teachers = q.view(global_views, images, prototypes)
        total = teachers.sum(0)
        others = torch.cat(
            [teachers[:j].sum(0) + teachers[j + 1 :].sum(0) for j in range(global_views)]
        )
        pairs = global_views * (len(log_p) // images - 1)
        crossed = (others * large).sum()
        if len(small):
            crossed = crossed + (total * small.view(-1, images, prototypes).sum(0)).sum()
        return -crossed / (pairs * images), entropy.detach()

    @torch.no_grad()
    def update_center(self, batch_sum, rows):
        """Move the centre towards the mean of the teacher's logits over all processes.

        Parameters
        ----------
        batch_sum : torch.Tensor
            (1, K), this process's sum of teacher logits over a step (all accumulated batches).
        rows : int
            How many rows it sums.
        """
        mean = sum_over_processes(batch_sum.clone()) / (rows * world_size())
        m = self.center_momentum
        self.center.mul_(m).add_(mean, alpha=1 - m)


def koleo(embeddings, eps=1e-8):
    """KoLeo regulariser: minus the mean log distance to the nearest neighbour on the sphere.

    Parameters
    ----------
    embeddings : torch.Tensor
        (B, D) of one view.

    Source: Sablayrolles et al. 2019 (arXiv:1806.03198), equation 3; as in DINOv2
    (arXiv:2304.07193, section 4).
    """
    x = F.normalize(embeddings.float(), dim=-1)
    with torch.no_grad():
        similarity = x @ x.T
        similarity.fill_diagonal_(-2)
        nearest = similarity.argmax(1)
    return -torch.log((x - x[nearest]).norm(dim=1) + eps).mean()


def cosine_schedule(base, final, steps, warmup_steps=0):
    """Values of a schedule: linear from 0 to `base`, then a cosine from `base` to `final`.

    Returns
    -------
    list of float
        One a step.
    """
    warmup = [base * i / max(1, warmup_steps - 1) for i in range(warmup_steps)]
    rest = max(0, steps - warmup_steps)
    cosine = [
        final + 0.5 * (base - final) * (1 + math.cos(math.pi * i / rest)) for i in range(rest)
    ]
    return (warmup + cosine)[:steps]


def teacher_temperature(epoch, warmup_temp, temp, warmup_epochs):
    """Teacher temperature of an epoch: linear from `warmup_temp` to `temp`, then constant."""
    if epoch >= warmup_epochs:
        return temp
    return warmup_temp + (temp - warmup_temp) * epoch / max(1, warmup_epochs - 1)


def parameter_groups(network):
    """Parameters in two groups: weight decay applies to the first, never to biases and norms."""
    decayed, free = [], []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (free if name.endswith(".bias") or parameter.ndim == 1 else decayed).append(parameter)
    return [{"params": decayed}, {"params": free, "weight_decay": 0.0}]


def clip_gradients(parameters, most):
    """Scale each parameter's gradient down to norm `most`, as DINO does; the norms before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients))
    factors = (most / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factors.unbind())
    return norms


@torch.no_grad()
def update_teacher(student, teacher, momentum):
    """Exponential moving average of the student's parameters (paper, section 3.1).

    Buffers (batch-norm statistics) are copied. What only the student has is left alone.
    """
    followed = dict(student.named_parameters())
    names, teacher_parameters = zip(*teacher.named_parameters(), strict=True)
    torch._foreach_lerp_(
        teacher_parameters, [followed[name].detach() for name in names], 1 - momentum
    )
    buffers = dict(student.named_buffers())
    for name, own in teacher.named_buffers():
        own.copy_(buffers[name])


def effective_rank(embeddings):
    """Exponential of the entropy of the singular values: 1 when collapsed, at most D.

    Parameters
    ----------
    embeddings : torch.Tensor
        (N, D); centred here.

    Source: Roy and Vetterli 2007, The effective rank.
    """
    x = embeddings.float()
    values = torch.linalg.svdvals(x - x.mean(0))
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.exp(-torch.xlogy(shares, shares).sum())
