// Generates an image from C++: generate++ MODEL PROMPT FILE
#include <cstdio>
#include <memory>
#include <zimage.h>

template <auto Free> struct deleter {
    template <class T> void operator()(T *object) const { Free(object); }
};
template <class T, auto Free> using handle = std::unique_ptr<T, deleter<Free>>;

int main(int argc, char **argv)
{
    if (argc != 4) return std::fprintf(stderr, "usage: %s MODEL PROMPT FILE\n", argv[0]), 2;
    zi_error error = {};
    zi_engine *engine = nullptr;
    zi_model *model = nullptr;
    zi_image *image = nullptr;
    zi_model_options options = {};
    zi_request request = zi_request_default();
    options.path = argv[1];
    request.prompt = argv[2];
    bool ok = zi_engine_create(nullptr, &engine, &error);
    handle<zi_engine, zi_engine_free> engine_owner(engine);
    ok = ok && zi_model_load(engine, &options, &model, &error);
    handle<zi_model, zi_model_free> model_owner(model);
    ok = ok && zi_generate(model, &request, &image, &error);
    handle<zi_image, zi_image_free> image_owner(image);
    ok = ok && zi_image_save(image, argv[3], nullptr, &error);
    if (!ok) std::fprintf(stderr, "%s\n", error.text);
    return ok ? 0 : 1;
}
