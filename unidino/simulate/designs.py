"""What is planted in simulated plates: mechanisms, compounds, doses, genes, localisations."""

import hashlib

import numpy as np

MECHANISMS = {
    "Actin disruptors": {
        "actin_fibres": 0.15,
        "actin_cortex": 0.55,
        "cell_area": 0.7,
        "elongation": 1.5,
        "binucleate": 0.12,
    },
    "Aurora kinase inhibitors": {
        "nucleus_area": 1.8,
        "nucleus_roughness": 2.5,
        "binucleate": 0.35,
        "count": 0.7,
        "cell_area": 1.4,
    },
    "Cholesterol-lowering": {
        "elongation": 2.0,
        "cell_area": 0.75,
        "golgi_dispersal": 1.5,
        "tubulin_density": 0.75,
        "count": 0.8,
    },
    "DNA damage": {
        "nucleus_area": 1.45,
        "chromatin": 0.6,
        "nucleoli": 0.6,
        "count": 0.6,
        "cell_area": 1.3,
    },
    "DNA replication": {
        "nucleus_area": 1.3,
        "dna_intensity": 1.35,
        "count": 0.6,
        "mitotic": 0.0,
        "actin_cortex": 0.8,
    },
    "Eg5 inhibitors": {
        "mitotic": 0.4,
        "count": 0.75,
        "dna_intensity": 1.15,
        "apoptotic": 0.06,
    },
    "Epithelial": {
        "actin_cortex": 1.9,
        "actin_fibres": 0.5,
        "cell_area": 0.85,
        "count": 1.25,
        "elongation": 0.85,
    },
    "Kinase inhibitors": {
        "actin_fibres": 1.7,
        "cell_area": 1.25,
        "count": 0.8,
        "tubulin_intensity": 0.85,
    },
    "Microtubule destabilizers": {
        "tubulin_density": 0.25,
        "tubulin_intensity": 0.8,
        "mitotic": 0.22,
        "nucleus_roughness": 3.5,
        "apoptotic": 0.07,
        "count": 0.7,
    },
    "Microtubule stabilizers": {
        "tubulin_bundling": 2.8,
        "tubulin_intensity": 1.25,
        "mitotic": 0.15,
        "nucleus_roughness": 3.5,
        "binucleate": 0.15,
        "count": 0.7,
    },
    "Protein degradation": {
        "dna_intensity": 1.25,
        "tubulin_intensity": 0.7,
        "cell_area": 0.75,
        "count": 0.55,
        "apoptotic": 0.1,
        "er_intensity": 1.3,
    },
    "Protein synthesis": {
        "nucleus_area": 0.75,
        "nucleoli": 0.35,
        "rna_intensity": 0.55,
        "actin_intensity": 0.75,
        "tubulin_intensity": 0.7,
        "count": 0.75,
    },
    "Mitochondrial uncoupler": {
        "mito_fragmentation": 4.0,
        "mito_intensity": 0.6,
        "cell_area": 0.9,
    },
    "Mitochondrial complex I inhibitor": {
        "mito_fragmentation": 3.0,
        "mito_intensity": 1.35,
        "count": 0.85,
    },
    "Golgi dispersal": {
        "golgi_dispersal": 2.4,
        "er_spread": 1.4,
        "golgi_intensity": 0.9,
    },
    "ER stress": {
        "er_intensity": 1.7,
        "er_spread": 0.65,
        "rna_intensity": 1.15,
        "count": 0.8,
    },
    "HDAC inhibitor": {
        "nucleus_area": 1.35,
        "chromatin": 0.35,
        "dna_intensity": 0.8,
        "elongation": 1.7,
        "count": 0.7,
    },
    "Topoisomerase inhibitor": {
        "nucleus_area": 1.5,
        "nucleoli": 1.6,
        "count": 0.5,
        "nucleus_roughness": 1.8,
    },
    "Glucocorticoid agonist": {
        "actin_cortex": 1.25,
        "elongation": 0.9,
    },
    "Acetylcholinesterase inhibitor": {
        "mito_intensity": 1.1,
    },
    "Chitin synthesis inhibitor": {
        "actin_cortex": 1.35,
        "golgi_intensity": 1.35,
    },
    "Voltage-gated sodium channel": {
        "cell_area": 1.2,
        "mito_intensity": 0.85,
    },
}
"""Phenotype of each mechanism at full effect (parameters of `cells.NORMAL`); the last are weak."""

LIMITS = {
    "count": (0.4, 1.4),
    "cell_area": (0.55, 1.9),
    "nucleus_area": (0.55, 2.1),
    "nucleus_roughness": (0.3, 4.0),
    "elongation": (0.7, 2.4),
    "dna_intensity": (0.5, 1.8),
    "chromatin": (0.2, 3.0),
    "tubulin_intensity": (0.4, 1.8),
    "tubulin_density": (0.2, 2.0),
    "tubulin_bundling": (0.5, 3.0),
    "actin_intensity": (0.4, 1.8),
    "actin_fibres": (0.1, 2.5),
    "actin_cortex": (0.3, 2.2),
    "er_intensity": (0.4, 1.8),
    "er_spread": (0.5, 2.0),
    "rna_intensity": (0.4, 1.8),
    "nucleoli": (0.2, 2.2),
    "golgi_intensity": (0.4, 1.8),
    "golgi_dispersal": (0.6, 2.6),
    "mito_intensity": (0.4, 1.8),
    # Mitochondria less fragmented than normal ones would look the same.
    "mito_fragmentation": (1.6, 5.0),
}
"""Lowest and highest factor of a random phenotype: what a cell survives and a microscope shows."""

BBBC021_MOA = {
    "Actin disruptors": ("cytochalasin B", "cytochalasin D", "latrunculin B"),
    "Aurora kinase inhibitors": ("AZ-A", "AZ258", "AZ841"),
    "Cholesterol-lowering": ("mevinolin/lovastatin", "simvastatin"),
    "DNA damage": ("chlorambucil", "cisplatin", "etoposide"),
    "DNA replication": ("AZ-J", "camptothecin", "floxuridine"),
    "Eg5 inhibitors": ("AZ138", "AZ-C", "AZ-E"),
    "Epithelial": ("AZ-H", "AZ-K", "PP-2"),
    "Kinase inhibitors": ("AZ-M", "PD-169316", "alsterpaullone"),
    "Microtubule destabilizers": ("colchicine", "nocodazole", "vincristine"),
    "Microtubule stabilizers": ("docetaxel", "epothilone B", "taxol"),
    "Protein degradation": ("ALLN", "lactacystin", "MG-132"),
    "Protein synthesis": ("anisomycin", "cyclohexamide", "emetine"),
}
"""Compounds of each mechanism in the real BBBC021 (its MoA table)."""

ONE_BATCH_MOA = ("Cholesterol-lowering", "Kinase inhibitors")
"""Mechanisms that the real BBBC021 has in one batch only."""

JUMP_TARGETS = {
    "TUBB": "Microtubule destabilizers",
    "AURKA": "Aurora kinase inhibitors",
    "TOP1": "Topoisomerase inhibitor",
    "HDAC1": "HDAC inhibitor",
    "PSMB5": "Protein degradation",
    "RPL3": "Protein synthesis",
    "KIF11": "Eg5 inhibitors",
    "NDUFS1": "Mitochondrial complex I inhibitor",
    "ATP1A1": "ER stress",
    "NR3C1": "Glucocorticoid agonist",
}
"""Target of the simulated JUMP compounds and the mechanism drawn for it."""

INSECT_MOA = (
    "Mitochondrial complex I inhibitor",
    "Mitochondrial uncoupler",
    "Microtubule destabilizers",
    "Acetylcholinesterase inhibitor",
    "Chitin synthesis inhibitor",
    "Voltage-gated sodium channel",
)

GENES = {
    # Cell Health: gene -> mechanism drawn for its knock-out.
    "AURKB": "Aurora kinase inhibitors",
    "KIF11": "Eg5 inhibitors",
    "POLR2D": "Protein synthesis",
    "PSMA1": "Protein degradation",
    "RPL23A": "Protein synthesis",
    "ATF4": "ER stress",
    "BRCA1": "DNA damage",
    "CDK2": "DNA replication",
    "ARPC2": "Actin disruptors",
    "OPA1": "Mitochondrial uncoupler",
    "ATP50": "Mitochondrial complex I inhibitor",
    "BCL2L2": "Topoisomerase inhibitor",
    "BRD4": "HDAC inhibitor",
    "CCNE1": "DNA replication",
    "CDK4": "Epithelial",
    "CHEK2": "DNA damage",
    "COX5B": "Mitochondrial complex I inhibitor",
    "CSNK1A1": "Kinase inhibitors",
    "CTNNB1": "Epithelial",
    "EGFR": "Kinase inhibitors",
    "EZH2": "HDAC inhibitor",
    "GPX4": "ER stress",
    "HIF1a": "Glucocorticoid agonist",
    "ITGAV": "Actin disruptors",
    "KRAS": "Golgi dispersal",
    "MCL1": "Protein degradation",
    "ORC4": "Topoisomerase inhibitor",
    "RHOA": "Microtubule destabilizers",
    "SDHB": "Mitochondrial uncoupler",
    "SLC2A1": "Cholesterol-lowering",
}

ORFS = {
    # BBBC037: gene -> (class in the ground truth, mechanism drawn for its over-expression).
    "RHOA": ("Cytoskeletal Re-organization", "Kinase inhibitors"),
    "CDC42": ("Cytoskeletal Re-organization", "Actin disruptors"),
    "TRAF2": ("NFkB", "ER stress"),
    "XBP1": ("ER Stress/UPR", "ER stress"),
    "ATF6": ("ER Stress/UPR", "Golgi dispersal"),
    "TP53": ("Apoptosis and Survival", "DNA damage"),
    "CDKN1A": ("Cell Cycle", "DNA replication"),
    "E2F1": ("Cell Cycle", "Aurora kinase inhibitors"),
    "PRKACA": ("PKA", "Epithelial"),
    "GSK3B": ("WNT", "Glucocorticoid agonist"),
}

CELL_LINES = (
    "A-431", "A549", "CACO-2", "HEK 293", "HEL", "HUVEC TERT2", "HaCaT", "HeLa", "JURKAT", "K-562",
    "MCF7", "PC-3", "REH", "RH-30", "SH-SY5Y", "U-2 OS", "U-251 MG",
)  # fmt: skip
"""The 17 cell lines of the Human Protein Atlas set."""

LOCALISATIONS = {
    # Name -> class number of the Kaggle 2021 competition.
    "Nucleoplasm": 0,
    "Nuclear membrane": 1,
    "Nucleoli": 2,
    "Nuclear speckles": 4,
    "Endoplasmic reticulum": 6,
    "Golgi apparatus": 7,
    "Intermediate filaments": 8,
    "Actin filaments": 9,
    "Microtubules": 10,
    "Centrosome": 12,
    "Plasma membrane": 13,
    "Mitochondria": 14,
    "Aggresome": 15,
    "Cytosol": 16,
    "Vesicles": 17,
}


def hill(dose, half, slope=1.5):
    """Share of the full effect at a dose, 0 to 1."""
    return dose**slope / (dose**slope + half**slope)


def generator(seed, *names):
    """Random numbers that follow from a seed and names alone, on every machine."""
    digest = hashlib.sha256("|".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
