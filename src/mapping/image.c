/* SPDX-License-Identifier: MIT */
/* Views of image sections: where they may lie, and what their pages may be used for. */
#include "mapping/view.h"

NTSTATUS MiMapImageView(PMI_ADDRESS_SPACE Space, PMI_VIEW View, ULONG Protection)
{
    UNREFERENCED_PARAMETER(Space);
    UNREFERENCED_PARAMETER(View);
    UNREFERENCED_PARAMETER(Protection);
    return STATUS_NOT_IMPLEMENTED;
}
