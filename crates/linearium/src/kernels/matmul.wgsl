// filled by the GPU player's author
