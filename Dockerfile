# The kit with JupyterLab: docker build -t dtnet . && docker run --rm -p 127.0.0.1:8888:8888 dtnet
# Binder builds this, too: it passes NB_USER and NB_UID, and starts JupyterLab itself.
FROM python:3.11-slim
ARG NB_USER=jovyan
ARG NB_UID=1000
ENV USER=${NB_USER} HOME=/home/${NB_USER} PATH=/opt/dtnet/bin:${PATH} PIP_NO_CACHE_DIR=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
RUN useradd --create-home --home-dir ${HOME} --uid ${NB_UID} ${NB_USER} \
    && mkdir ${HOME}/dtnet && python -m venv /opt/dtnet && chown -R ${NB_UID} ${HOME}/dtnet /opt/dtnet
WORKDIR ${HOME}/dtnet
COPY --chown=${NB_UID} . .
USER ${NB_USER}
RUN ./postBuild
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
