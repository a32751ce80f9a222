"""IASSF on MSRS with the haze of the authors' release: the paper's setting (arXiv 2411.12586, Sec. IV-B).

python train.py --config configs/msrs.py --config.data.root=PATH_TO_MSRS

`data.root` may hold the authors' `{train,test}/{GT,hazy,IR}` or upstream MSRS `{train,test}/{vi,ir}`.
Of the paper: 1,083 pairs, 54,000 steps, one RTX 4090. Not run here in full.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Every number that a run uses, each with where it comes from."""
    config = ConfigDict()
    config.seed = 0  # ours: weights, order, crops, haze
    config.init_from = ""  # ours: weights to start from: a run's or converted folder, .safetensors, .pth

    config.model = _model()
    config.loss = loss = ConfigDict()
    loss.alpha = 2.0  # paper: Table VIII
    loss.beta = 1.0  # paper: weight of the gradient term

    config.optim = _optim()
    config.train = train = ConfigDict()
    train.batch_size = 6  # paper
    train.epochs = 300  # paper
    train.steps = 0  # ours: overrides epochs where not 0
    train.ema_decay = 0.0  # ours: 0 is off
    train.log_every = 50  # ours

    config.data = _data()
    config.eval = ConfigDict()
    config.eval.every = 1000  # ours: steps
    config.eval.num_images = 16  # ours; 0: no validation
    config.eval.num_samples = 4  # ours: rows of the picture
    config.eval.batch_size = 1  # ours: of eval.py
    config.eval.pad_multiple = 0  # ours: images are padded to multiples of it; 0: to the few sizes of `fuse`
    config.eval.seed = 0  # ours: haze of validation images that have no hazy file

    config.checkpoint = ConfigDict()
    config.checkpoint.every = 1000  # ours: steps
    config.checkpoint.keep = 2  # ours
    config.checkpoint.keep_every = 0  # ours: 0 is off
    return config.lock()


def _model() -> ConfigDict:
    """The network."""
    model = ConfigDict()
    model.name = "iassf"
    model.channels = 24  # paper: C (its release)
    model.num_prompts = 5  # paper: N
    model.prompt_size = 64  # ours: side of the learned pool, resized to the image; 256 would be 12 M parameters
    model.encoder_blocks = 1  # ours: paper silent
    model.restoration_blocks = (1, 1, 2, 1, 1)  # ours: TF, three levels; paper silent
    model.fusion_channels = 12  # ours: width of the first fusion block, keeps the cost below the release's
    model.fusion_blocks = 5  # paper: M, Table IX has 1, 3, 5, 7
    model.heads_per_channels = 24  # ours: as wide as Restormer's heads at this C
    model.norm = "with_bias"  # Restormer's default
    model.reconstruction = "direct"  # paper; "soft" gives the images' changes, see models/heads.py
    model.working_size = 0  # ours: longest side at which "physical" sees whole images
    model.patch = 1  # ours: with "physical", pixels a side that become one position of the features
    model.bound = 0.1  # He et al.: t0; with "physical", the least transmission that is taken off
    model.hde_of_features = False  # ours: with "physical", Eq. 5 mixes by Eq. 3-4 and not by the image's dark channel
    model.without_ir = False  # Table VII
    model.without_hde = False  # Table VII
    model.without_p_ir = False  # Table VII
    model.without_fr_peb = False  # Table VII
    model.without_p_vi = False  # Table VII
    model.without_fb_peb = False  # Table VII
    model.dtype = "float32"  # release; "bfloat16" on a GPU
    return model


def _optim() -> ConfigDict:
    """AdamW and its learning rate."""
    optim = ConfigDict()
    optim.learning_rate = 2e-4  # paper
    optim.min_learning_rate = 2e-6  # paper
    optim.warmup_steps = 0  # paper silent
    optim.schedule_every = "step"  # ours; the release changes the rate once an "epoch"
    optim.beta1 = 0.9  # release: PyTorch's default
    optim.beta2 = 0.999  # release: PyTorch's default
    optim.epsilon = 1e-8  # release: PyTorch's default
    optim.weight_decay = 1e-2  # release: PyTorch's default
    optim.clip_norm = 0.0  # ours: 0 is off
    optim.trainable = ()  # ours: modules, e.g. ("mspe_fm", "heads/fused"): they alone are trained; (): all
    optim.accumulate_steps = 1  # ours: batches an update
    return optim


def _data() -> ConfigDict:
    """Which pairs, and what is drawn of them anew each epoch."""
    data = ConfigDict()
    data.source = "pairs"
    data.root = "data/msrs"  # ours; several folders with commas between them: all of them
    data.layout = "auto"
    data.folders = ConfigDict({"visible": "", "infrared": "", "hazy": "", "depth": ""})  # ours: any folders
    data.val_fraction = 0.05  # ours: held out of train where there is no val split; test is never used to choose
    data.verify = True  # ours: decode every file once at the start
    data.depth_meaning = ""  # ours: "depth" or "disparity", where pairs have depth maps
    data.depth_scale = 1.0  # ours: metres = value * scale (depth) or scale / value (disparity)
    data.infrared_percentiles = "auto"  # ours: stretches raw 16-bit data; or "1,99" for any, "none"
    data.crop = 256  # paper
    data.whole_size = ()  # ours: (height, width), or several: whole images shrunk to it in place of crops
    data.window = (1.0, 1.0)  # ours: shares of a whole image's sides that are taken for it
    data.with_truth = False  # ours: batches also tell transmission and air light, as "physical" needs
    data.infrared_fading = (0.0, 0.0)  # ours: with the truth, how much of the haze infrared sees: a power of t
    data.min_scale = 1.0  # ours: below 1, hazy images are shrunk by up to this factor before they are cropped
    data.permute_chance = 0.0  # ours: of another order of red, green and blue, so that no colour is rare
    data.horizontal_flip = True  # paper
    data.vertical_flip = True  # paper
    data.rotations = False  # ours; the release rotates
    data.num_workers = 0  # ours: worker processes; a few where there is a GPU
    data.haze = ConfigDict({"kinds": ("msrs_release",), "ranges": ConfigDict()})  # paper: drawn anew each epoch
    data.relight, data.degrade = _relight(), _degrade()
    data.scenes = ConfigDict({"num_train": 64, "num_val": 8, "height": 240, "width": 320, "seed": 0})  # ours
    return data


def _relight() -> ConfigDict:
    """Ours, off: the clear visible image in another light, before any haze."""
    relight = ConfigDict()
    relight.chance = 0.0  # ours
    relight.gain = (0.35, 1.0)  # ours: down to dusk
    relight.gamma = (0.7, 1.8)  # ours
    relight.tint = (-0.12, 0.12)  # ours: added to the gain of each colour
    relight.black = (0.0, 0.06)  # ours: brightness of what was black
    return relight


def _degrade() -> ConfigDict:
    """Ours, all off: what cameras do to the inputs, drawn for each crop."""
    degrade = ConfigDict()
    degrade.noise_chance = 0.0  # ours: of noise on the hazy crop
    degrade.shot_noise = (0.0, 0.001)  # ours: variance at full brightness; 0.001 is a deviation of 8 of 255
    degrade.read_noise = (0.0, 0.01)  # ours: standard deviation in the dark, of 0..1
    degrade.jpeg_chance = 0.0  # ours: of JPEG compression of the hazy crop
    degrade.jpeg_quality = (40, 95)  # ours: OpenCV's scale
    degrade.infrared_chance = 0.0  # ours: of other levels of the infrared crop
    degrade.infrared_gain = (0.6, 1.3)  # ours: darker and brighter cameras
    degrade.infrared_gamma = (0.7, 1.5)  # ours
    degrade.infrared_contrast = (0.6, 1.3)  # ours: around the crop's mean
    degrade.infrared_offset = (-0.1, 0.1)  # ours
    degrade.misaligned_chance = 0.0  # ours: of an infrared image that lies a little off
    degrade.misaligned_by = (-0.01, 0.01)  # ours: shares of the longest side, down and to the right
    degrade.no_infrared_chance = 0.0  # ours: of the hazy image's luma in place of the infrared image
    return degrade
