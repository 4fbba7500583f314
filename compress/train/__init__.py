"""Deep Compression with training, for any PyTorch module: prune, share, save (Han, Mao and Dally, ICLR 2016).

    train.prune(model, loader, loss, density=0.05)
    shared = train.share(model, loader, loss, bits=4)
    train.save("net.eie", model, shared, calibration)

Needs PyTorch: pip install 'eie-sim[train]'.
"""

from eie.compress.train.adder import Adder, AdderConv2d
from eie.compress.train.adder_export import clip_weights, fixed_adders
from eie.compress.train.blocks import Blocks
from eie.compress.train.distill import weighted
from eie.compress.train.exits import Exits, Joint, exit_share, save_exits
from eie.compress.train.export import layers_of, save
from eie.compress.train.few_bits import few_bits
from eie.compress.train.loop import Epoch, Teacher, Training, fit
from eie.compress.train.pruning import Schedule, prune
from eie.compress.train.rank import low_rank
from eie.compress.train.sensitivity import Choice, Sensitivity, accuracy, choose, scan
from eie.compress.train.sharing import Shared, SharedWeight, share
from eie.compress.train.skips import Priced, Skipping, save_skipping
from eie.compress.train.slim import InPlace, Slim, save_widths, widths
from eie.compress.train.weights import Weight, find_weights

__all__ = [
    "Adder",
    "AdderConv2d",
    "Blocks",
    "Choice",
    "Epoch",
    "Exits",
    "InPlace",
    "Joint",
    "Priced",
    "Schedule",
    "Sensitivity",
    "Shared",
    "SharedWeight",
    "Skipping",
    "Slim",
    "Teacher",
    "Training",
    "Weight",
    "accuracy",
    "choose",
    "clip_weights",
    "exit_share",
    "few_bits",
    "find_weights",
    "fit",
    "fixed_adders",
    "layers_of",
    "low_rank",
    "prune",
    "save",
    "save_exits",
    "save_skipping",
    "save_widths",
    "scan",
    "share",
    "weighted",
    "widths",
]
