"""The Python interface: load people and images, filter, audit, distil.

    import privacy_distillation as pdl

    people = pdl.load_people("people/")                  # a folder per person, a table, DICOM, arrays, PIL images, a Dataset
    images = pdl.load_images("samples/")                 # what some generator made
    decisions = pdl.fit_filter(people).scores(images)    # a pandas data frame
    found = pdl.audit(people, images)                    # found.verdict, found.to_frame(), found.plot()
    run = pdl.distil("mine.yaml")                        # what `pd run mine.yaml` does

Everything but `distil` computes in this process. The command `pd` does the same on files, and on a Ray cluster.
"""

from pd.errors import UserError
from privacy_distillation.auditing import AuditResult, audit
from privacy_distillation.distilling import distil
from privacy_distillation.filtering import Filter, fit_filter
from privacy_distillation.inputs import load_images, load_people

__all__ = ["AuditResult", "Filter", "UserError", "audit", "distil", "fit_filter", "load_images", "load_people"]
