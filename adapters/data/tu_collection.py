"""The TU collection (arXiv 2007.08663): its sets' names, sizes and checksums.

Sizes are those of the collection's own page; averages are rounded to two digits there. Sets for
regression and those with edges that change over time are left out. The checksums are of the zips
on the collection's server, as the package GraphDatasets.jl pins them.
"""

from typing import NamedTuple


class TUSet(NamedTuple):
    """One set of the collection.

    Attributes:
        graphs: how many there are; 0 if that is not known for certain.
        classes: how many classes they have.
        nodes: the average number of nodes of a graph.
        edges: the average number of edges.
        sha256: that of its zip; empty if nobody has published it.
    """

    graphs: int = 0
    classes: int = 0
    nodes: float = 0.0
    edges: float = 0.0
    sha256: str = ""


TU_SETS = {
    "AIDS": TUSet(
        2000,
        2,
        15.69,
        16.20,
        "ef65a8095846588ffd6e17f95c1968a247d8ada7295a61209c401bda23d19ab9",
    ),
    "BZR": TUSet(
        405,
        2,
        35.75,
        38.36,
        "584cb76f63cf5d0459cabfa254603b4e89823de0c03c96d60ab338f2d71a8b55",
    ),
    "BZR_MD": TUSet(
        306,
        2,
        21.30,
        225.06,
        "f2ae267e19de998358bddeb20517768380ffb0594c594becbbd11aed538014d6",
    ),
    "COIL-DEL": TUSet(
        3900,
        100,
        21.54,
        54.24,
        "4dbaf79fc1d1b6fc90911b15faa086af0b5f2ce4600ecd93403af95a34e6e3e8",
    ),
    "COIL-RAG": TUSet(
        3900,
        100,
        3.01,
        3.02,
        "47f8be52a845c414299a4c9e6346acc074c5438fc12fe90b7d8da5c4613f667f",
    ),
    "COLLAB": TUSet(
        5000,
        3,
        74.49,
        2457.78,
        "cb5b772bc4f3a4690d0601378a3fc993b092aeafd63e2b0f2330137dda1cdcc6",
    ),
    "COX2": TUSet(467, 2, 41.22, 43.45),
    "COX2_MD": TUSet(303, 2, 26.28, 335.12),
    "Cuneiform": TUSet(267, 30, 21.27, 44.80),
    "DBLP_v1": TUSet(
        19_456,
        2,
        10.48,
        19.65,
        "67d8a383e8920e9f9e6d8afd55df4104619252f2d08772ee08ad8a76e57b547a",
    ),
    "DD": TUSet(
        1178,
        2,
        284.32,
        715.66,
        "d033d7aeb1a48c4b2b47cf0390e7fc9671de70d98c8df5b11e458d2ec5515cd2",
    ),
    "deezer_ego_nets": TUSet(9629, 2, 23.49, 65.25),
    "DHFR": TUSet(),
    "DHFR_MD": TUSet(393, 2, 23.87, 283.01),
    "ENZYMES": TUSet(
        600,
        6,
        32.63,
        62.14,
        "13d832eb6ffa084192daf6e5750250028a18437ee692c38d29a10cd60e18aaf4",
    ),
    "ER_MD": TUSet(446, 2, 21.33, 234.85),
    "Fingerprint": TUSet(sha256="6c53fc4e71a26b192681375b7a860afd49a24367cb1a15bda6b57067c467154d"),
    "FIRSTMM_DB": TUSet(41, 11, 1377.27, 3074.10),
    "FRANKENSTEIN": TUSet(4337, 2, 16.90, 17.88),
    "github_stargazers": TUSet(12_725, 2, 113.79, 234.64),
    "IMDB-BINARY": TUSet(
        1000,
        2,
        19.77,
        96.53,
        "b291ec8b26d85c70faa2ba0a2433e1f407ed2ef5d0fc072d36b9a95e49a1bb27",
    ),
    "IMDB-MULTI": TUSet(
        1500,
        3,
        13.00,
        65.94,
        "a4a302149ebf4c76fa1f0fb108baff89fcbf9d35de306b18f27a8419b9a1a690",
    ),
    "KKI": TUSet(83, 2, 26.96, 48.42),
    "Letter-high": TUSet(2250, 15, 4.67, 4.50),
    "Letter-low": TUSet(2250, 15, 4.68, 3.13),
    "Letter-med": TUSet(2250, 15, 4.67, 4.50),
    "MCF-7": TUSet(27_770, 2, 26.39, 28.52),
    "MOLT-4": TUSet(39_765, 2, 26.09, 28.13),
    "MSRC_21": TUSet(563, 20, 77.52, 198.32),
    "MSRC_21C": TUSet(209, 20, 40.28, 96.60),
    "MSRC_9": TUSet(221, 8, 40.58, 97.94),
    "MUTAG": TUSet(
        188,
        2,
        17.93,
        19.79,
        "c419bdc853c367d2d83da4973c45100954ae15e10f5ae2cddde6ca431f8207f6",
    ),
    "Mutagenicity": TUSet(
        4337,
        2,
        30.32,
        30.77,
        "6230f94ba246b76834fb51ffa138370477b7bf8a784ade92c5e0586780d2ae0e",
    ),
    "NCI-H23": TUSet(40_353, 2, 26.07, 28.10),
    "NCI1": TUSet(
        4110,
        2,
        29.87,
        32.30,
        "10e1458f3bd9224f14e6d7627e74dcfd13e48d376d73935e7bd2900590ef1d82",
    ),
    "NCI109": TUSet(
        4127,
        2,
        29.68,
        32.13,
        "96e521a294e3e9c088540e9e9caccf55e4ca6e97cf468d68445814467956abaf",
    ),
    "OHSU": TUSet(79, 2, 82.01, 199.66),
    "OVCAR-8": TUSet(40_516, 2, 26.07, 28.10),
    "P388": TUSet(41_472, 2, 22.11, 23.55),
    "PC-3": TUSet(27_509, 2, 26.35, 28.49),
    "Peking_1": TUSet(85, 2, 39.31, 77.35),
    "PROTEINS": TUSet(
        1113,
        2,
        39.06,
        72.82,
        "2da8de15284b88edabca2888ce5444d62f364ed41159260977088c4e53d4d848",
    ),
    "PROTEINS_full": TUSet(
        1113,
        2,
        39.06,
        72.82,
        "3b7782403ce98754df3330a67e9b2aff32e69520aa1245bf515c48cc0119c562",
    ),
    "PTC_FM": TUSet(
        349,
        2,
        14.11,
        14.48,
        "a06c80761db8ffd739a171f0d90cfa1f4dc965e1ea716ee5a25cc6cf5f4ae682",
    ),
    "PTC_FR": TUSet(
        351,
        2,
        14.56,
        15.00,
        "c4b0083af725aaff27b41228591294922968bd5509179d24c6ea4d3996ed6072",
    ),
    "PTC_MM": TUSet(
        336,
        2,
        13.97,
        14.32,
        "3846d6697330a446d46a1274b8708fcc153acdbcf59f649871bc0844bb012e4f",
    ),
    "PTC_MR": TUSet(
        344,
        2,
        14.29,
        14.69,
        "5699a6d9f1bc5b3d71495f09ef50de53fa3e6bb24ead1150da678500229f5237",
    ),
    "REDDIT-BINARY": TUSet(
        2000,
        2,
        429.63,
        497.75,
        "982dc64ddade42a6365ba9c93f5080d0b9d315df0df492b57fd9fbb7e40dbe16",
    ),
    "REDDIT-MULTI-12K": TUSet(
        11_929,
        11,
        391.41,
        456.89,
        "dc133043edae3df088a4bfbd09595f105c0a6e2df533662b6ddc7d3268b5b49b",
    ),
    "REDDIT-MULTI-5K": TUSet(
        4999,
        5,
        508.52,
        594.87,
        "68587783c33d54dd6107a1fc101594fd2b9d1af4e99cafe733636f383ae0c8ee",
    ),
    "reddit_threads": TUSet(203_088, 2, 23.93, 24.99),
    "SF-295": TUSet(40_271, 2, 26.06, 28.08),
    "SN12C": TUSet(40_004, 2, 26.08, 28.11),
    "SW-620": TUSet(40_532, 2, 26.05, 28.08),
    "SYNTHETIC": TUSet(
        300,
        2,
        100.00,
        196.00,
        "3c0344e0cd6518d8b3f52bf45d152b1a9a007a523f5e91fc2bda929cc353c84d",
    ),
    "SYNTHETICnew": TUSet(
        300,
        2,
        100.00,
        196.25,
        "07e27d6ff1c25d036df5bf3593b1bf4676f51e656eb982e903dea4718634ed5e",
    ),
    "Synthie": TUSet(
        400,
        4,
        95.00,
        172.93,
        "c5bada5ffe42b4a901d50e75f10c3f969fb962f94acaab0265f46097496154d5",
    ),
    "twitch_egos": TUSet(127_094, 2, 29.67, 86.59),
    "UACC257": TUSet(39_988, 2, 26.09, 28.12),
    "Yeast": TUSet(79_601, 2, 21.54, 22.84),
}
"""{name in the collection: its sizes and checksum}."""
