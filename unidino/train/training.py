"""Training as a function and as a command line: ``python -m unidino.train``.

What they take is known, and wrong options are refused, before torch is loaded, which takes seconds.
"""

import os
import sys

from .. import arguments
from ..progress import one_line


def train(
    output_dir: str,
    *,
    arch: str | None = None,
    patch_size: int = 16,
    embed_dim: int | None = None,
    cls_reduced_dim: int | None = None,
    in_chans: int = 1,
    reg_tokens: int = 0,
    pooling: str = "cls",
    drop_path_rate: float = 0.1,
    ckpt: str | None = None,
    distil_from: str | None = None,
    distil_weight: float = 1.0,
    dino_weight: float = 1.0,
    out_dim: int | None = None,
    norm_last_layer: bool = True,
    use_bn_in_head: bool = False,
    freeze_last_layer: int | None = None,
    momentum_teacher: float | None = None,
    warmup_teacher_temp: float = 0.01,
    teacher_temp: float = 0.04,
    warmup_teacher_temp_epochs: int | None = None,
    centring: str = "mean",
    koleo_weight: float = 0.0,
    epochs: int | None = None,
    epoch_length: int | None = None,
    batch_size_per_gpu: int | None = None,
    grad_accum: int = 1,
    optimizer: str = "adamw",
    lr: float | None = None,
    min_lr: float = 1e-6,
    warmup_epochs: int | None = None,
    weight_decay: float = 0.04,
    weight_decay_end: float = 0.4,
    clip_grad: float = 3.0,
    precision: str | None = None,
    use_fp16: bool = False,
    datasets: list | str | None = None,
    dataset_weights: list | None = None,
    include_jumpcp: bool | None = None,
    include_bbbc021: bool | None = None,
    include_bbbc037: bool | None = None,
    include_hpa: bool | None = None,
    include_insect: bool | None = None,
    use_example_data: bool = False,
    intensity_scaling: str = "dtype",
    intensity_range: list | tuple | None = None,
    size: int | None = None,
    local_size: int | None = None,
    local_crops_number: int | None = None,
    zoom_min: float = 1.0,
    zoom_max: float = 1.0,
    shared_zoom: bool = False,
    shift: float = 0.3,
    gamma_min: float = 0.5,
    gamma_max: float = 1.5,
    blur_prob: float = 0.0,
    noise_prob: float = 0.0,
    monitor: str | None = None,
    monitor_label: str | None = None,
    monitor_exclude: list | str | None = None,
    monitor_freq: int = 1,
    saveckp_freq: int = 10,
    checkpoint_minutes: float = 15.0,
    group_size: int = 1,
    min_contrast: float = 0.0,
    num_workers: int | None = None,
    device: str | None = None,
    seed: int = 0,
):
    """Train a model; go on where an interrupted run with the same options stopped.

    On a GPU the defaults are those of the published run (a ViT-S/16, 5 GPUs, 102 images each), but
    that gradients are clipped, which the released script declares and does not do. On a CPU, where
    it would take weeks, options that are left out are smaller and make a first model in minutes to
    hours: the values in brackets, see `options.BY_DEVICE`.

    Parameters
    ----------
    output_dir : str
        Folder of checkpoints and logs.
    arch : str
        vit_tiny, vit_small, vit_base, vit_large, vit_xbase, vit_slarge, timm:NAME or
        torchvision:NAME; by default vit_small [vit_tiny].
    patch_size : int
        Pixels, of a vision transformer.
    embed_dim, cls_reduced_dim : int
        Width of a vision transformer, where not its own; width after the reducer.
    in_chans : int
        1: each channel alone; more: whole sites of so many channels.
    reg_tokens : int
        Register tokens (arXiv:2309.16588) of a vision transformer.
    pooling : {"cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max"}
        What the head sees, and the embedding later.
    drop_path_rate : float
        Stochastic depth of the student, 0 to 1.
    ckpt : str
        Weights file whose backbone student and teacher start from.
    distil_from : str
        A model by name or weights file, such as transfer, that the student learns to reproduce in
        the global views: its embedding from the student's, and the map of its block before that
        from the student's patch tokens. The student is a vision transformer.
    distil_weight, dino_weight : float
        Weights of that loss and of self-distillation. dino_weight 0 leaves self-distillation and
        its local views out: with distil_from, and no local_crops_number.
    out_dim : int
        K, prototypes of the head; by default 20000 [1024].
    norm_last_layer : bool
        Prototypes of unit length.
    use_bn_in_head : bool
        Batch normalisation in the head.
    freeze_last_layer : int
        Epochs in which the prototypes stay fixed; by default 3 [1].
    momentum_teacher : float
        Of the teacher's moving average at the start, by default 0.9995 [0.99]; 1 at the end, by a
        cosine.
    warmup_teacher_temp, teacher_temp : float
        The teacher's temperature at the start, and after its warm-up.
    warmup_teacher_temp_epochs : int
        Epochs of that warm-up; by default 30 [3].
    centring : {"mean", "sinkhorn"}
        How the teacher is kept from collapse: moving centre, or Sinkhorn-Knopp.
    koleo_weight : float
        Weight of the KoLeo regulariser (arXiv:2304.07193).
    epochs : int
        Epochs in all; by default 201 [10].
    epoch_length : int
        Images of an epoch; by default the published repetition of the smaller sets [1280].
    batch_size_per_gpu : int
        Images of a process in a forward pass, by default 102 [32]. The method expects a total
        batch of about 510.
    grad_accum : int
        Forward passes of a step.
    optimizer : {"adamw", "sgd", "lars"}
        What moves the student.
    lr, min_lr : float
        Peak learning rate for a total batch of 256, by default 0.0004 [0.003], scaled by the total
        batch; rate at the end.
    warmup_epochs : int
        Epochs in which the learning rate rises; by default 20 [1].
    weight_decay, weight_decay_end : float
        At the start and at the end, by a cosine; not on biases and norms.
    clip_grad : float
        Largest norm of a parameter's gradient; 0 leaves them as they are.
    precision : {"fp32", "bf16", "fp16"}
        Of the forward pass; fp32 by default.
    use_fp16 : bool
        The published name of precision fp16.
    datasets : list
        Valsets or CSVs to train on, in a shell separated by commas; HPA@/data names the data root
        of a valset. A column sample_weight of a CSV weighs its rows.
    dataset_weights : list
        Share of each dataset in the draws; the published repetition by default.
    include_jumpcp, include_bbbc021, include_bbbc037, include_hpa, include_insect : bool
        Sets of the published mix; all of them unless datasets or use_example_data is given.
    use_example_data : bool
        Train on the example plate alone.
    intensity_scaling : {"dtype", "plate", "image"}
        How raw intensities become 0 to 1; stored with the weights.
    intensity_range : list
        Raw [low, high] that become 0 and 1 with the scaling dtype.
    size, local_size : int
        Sides of the two global views and of the local views, in pixels; by default 224 and 96
        [96 and 48].
    local_crops_number : int
        Local views of an image; by default 8 [4].
    zoom_min, zoom_max : float
        Range of the magnification of views; 1 and 1 cut at native resolution.
    shared_zoom : bool
        All views of an image have the same magnification, so that embeddings keep sizes.
    shift : float
        Largest additive shift of intensities, 0 to 1.
    gamma_min, gamma_max : float
        Range of the exponent on intensities.
    blur_prob, noise_prob : float
        Probability that a view is blurred, and that noise is added to it.
    monitor : str
        Valset or CSV embedded every monitor_freq epochs, to follow its accuracy.
    monitor_label : str
        Column whose nearest-neighbour accuracy is followed, such as moa; the published sets have
        one of their own.
    monitor_exclude : list
        Columns that a neighbour may not share, such as compound; likewise.
    monitor_freq : int
        Epochs between two looks at the monitor.
    saveckp_freq : int
        Epochs between numbered checkpoints; 0 for none.
    checkpoint_minutes : float
        Minutes between rolling checkpoints within an epoch; one is written after every epoch, too.
    group_size : int
        Consecutive images of the sequence that come from one plate and channel: those that are
        hard to tell apart then meet in a batch.
    min_contrast : float
        Standard deviation, on the scale of [0, 1], that both global views of an image need;
        otherwise another image is drawn, at most nine times.
    num_workers : int
        Reading processes of each GPU; by default 6 [1].
    device : str
        cuda, cuda:1, cpu …; by default the process's GPU, else the CPU.
    seed : int
        Of everything random.

    Returns
    -------
    Path
        The teacher's weights (safetensors with their config), to be named as a model.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        Wrong options or data, before any work; a folder that holds a run with other options.
    NonFiniteLoss
        The loss is not finite.
    SystemExit
        With status 143 after a SIGTERM, once a checkpoint is written.
    """
    given = dict(locals())
    from .options import checked, small_defaults

    options = checked(given, train)
    from .loop import carry_out

    return carry_out(options, small_defaults(given, options))


def main(argv=None, program="python -m unidino.train"):
    """The command line: one option for every parameter of `train`."""
    options = vars(arguments.parser(train, program).parse_args(argv))
    try:
        weights = train(**options)
    except (ValueError, TypeError, OSError, RuntimeError, FloatingPointError) as error:
        sys.exit(f"error: {one_line(error)}")
    if int(os.environ.get("RANK", 0)) == 0:
        print(weights)
